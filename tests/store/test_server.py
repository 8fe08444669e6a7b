"""A record on a PostgreSQL server: restarts, lost answers, refusals, and the password."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from fakes.postgres import PASSWORD, Postgres, running_postgres
from kubecase.core.errors import StoreUnavailable
from kubecase.core.model import Status
from kubecase.store import Owner, Store, downgrade
from kubecase.store.location import parse, shown
from kubecase.store.schema import REVISIONS

from .records import a_store, an_incident, looked_up

pytestmark = pytest.mark.anyio


@pytest.fixture
def address(postgres: Postgres, template: str) -> str:
    """A record of one's own on the server of the session."""
    return postgres.address(postgres.new_database(template))


async def test_a_restart_of_the_server_is_survived() -> None:
    """What is asked and changed while the server restarts is done once it is back."""
    with running_postgres() as server:
        address = server.address(server.new_database())
        async with a_store(address) as store:
            begun = await store.begin(an_incident(), agent="claude")
            server.stop()
            back = threading.Thread(target=server.start)

            async with anyio.create_task_group() as meanwhile:
                meanwhile.start_soon(store.move, begun, Status.STARTING)
                meanwhile.start_soon(store.list_investigations, 5)
                await anyio.lowlevel.checkpoint()
                back.start()
            back.join()

            assert (await store.status(begun.incident_id)).status is Status.STARTING


async def test_a_server_that_does_not_come_back_is_said_to_be_away() -> None:
    """A record that is gone for good ends in an error with a remedy, in bounded time."""
    with running_postgres() as server:
        async with a_store(server.address(server.new_database())) as store:
            server.stop()
            try:
                with anyio.fail_after(60), pytest.raises(StoreUnavailable) as caught:
                    await store.list_investigations(5)
            finally:
                server.start()

    assert "store.url" in (caught.value.hint or "")
    assert PASSWORD not in f"{caught.value} {caught.value.hint}"


class Wire:
    """Between a client and the server: breaks the connection at the first COMMIT it sees.

    `when` is `before` the server gets it, or `after` the server has done it and before the client
    hears of that.
    """

    def __init__(self, port: int, when: str) -> None:
        self.server_port = port
        self.when = when
        self.broken = 0
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        upstream, requests = await asyncio.open_connection("127.0.0.1", self.server_port)
        cut = asyncio.Event()

        async def to_client() -> None:
            while data := await upstream.read(65536):
                if cut.is_set():
                    break
                answers.write(data)
            answers.close()

        back = asyncio.create_task(to_client())
        with suppress(ConnectionError):
            while data := await client.read(65536):
                if b"COMMIT" in data and not self.broken:
                    self.broken += 1
                    cut.set()
                    if self.when == "before":
                        break
                requests.write(data)
            requests.close()
        if self.when == "before" and cut.is_set():
            answers.close()
        await back


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_change_is_made_once_whenever_the_connection_breaks(
    postgres: Postgres, address: str, when: str
) -> None:
    """Also where the answer to a commit was lost, the change is on record exactly once."""
    wire = Wire(postgres.port, when)
    incident = an_incident()
    async with wire.listening():
        by_wire = address.replace(f":{postgres.port}/", f":{wire.port}/")
        async with a_store(by_wire) as store:
            begun = await store.begin(incident, agent="claude")

    assert wire.broken == 1
    assert begun.status is Status.CREATED
    assert looked_up(address, "SELECT id FROM incident") == [(incident.id,)]


@pytest.mark.parametrize(
    ("change", "said", "remedy"),
    [
        ((PASSWORD, "wrong"), "password authentication failed", "password"),
        (("/case_", "/absent_"), "does not exist", "createdb"),
        (("127.0.0.1:", "127.0.0.1:1"), "cannot reach", "store.url"),
        (("127.0.0.1", "no-such-host.invalid"), "cannot reach", "store.url"),
    ],
)
async def test_a_server_that_cannot_be_used_is_told_with_the_remedy(
    address: str, change: tuple[str, str], said: str, remedy: str
) -> None:
    """A wrong password, database, port or host is told with the remedy, without the password."""
    wrong = address.replace(*change)
    if change[1] == "127.0.0.1:1":
        wrong = address.replace(address.rpartition(":")[2], "1/x")

    with pytest.raises(StoreUnavailable) as caught:
        async with Store.open(wrong, owner=Owner.current()):
            pass

    assert said in str(caught.value)
    assert remedy in (caught.value.hint or "")
    assert PASSWORD not in f"{caught.value} {caught.value.hint}"
    assert "wrong" not in f"{caught.value}"


async def test_a_socket_serves_as_well(postgres: Postgres, template: str) -> None:
    """A directory with the server's socket can stand in the address, as libpq has it."""
    name = postgres.new_database(template)

    async with a_store(postgres.by_socket(name)) as store:
        await store.begin(an_incident(), agent="claude")

    assert looked_up(postgres.address(name), "SELECT count(*) FROM incident") == [(1,)]


async def test_a_record_on_a_server_can_go_back_and_forth(address: str) -> None:
    """Going back to `base` leaves no table of ours; opening again makes them anew."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    before = looked_up(address, tables)

    await downgrade(address, "base")
    assert looked_up(address, tables) == [("alembic_version",)]
    async with a_store(address) as store:
        assert await store.list_investigations(5) == ()

    assert looked_up(address, tables) == before
    assert looked_up(address, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]


async def test_the_database_of_another_program_is_left_alone(postgres: Postgres) -> None:
    """A database with other tables is refused and unchanged."""
    name = postgres.new_database()
    postgres.sql(name, "CREATE TABLE bookmarks (url text);")

    with pytest.raises(StoreUnavailable, match="another program"):
        async with a_store(postgres.address(name)):
            pass

    assert postgres.sql(name, "SELECT count(*) FROM pg_tables WHERE schemaname='public';") == "1\n"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://kubecase:12/3secret@h/kubecase",
        "postgresql://kubecase:12#3secret@h/kubecase",
        "postgresql://kubecase:12?3secret@h/kubecase",
        "postgresql://kubecase:1@3secret@h/kubecase",
        "postgresql://h/kubecase?user=kubecase&password=3secret",
        "postgresql://h/kubecase?sslPassword=3secret",
    ],
)
def test_a_password_that_would_be_shown_is_refused(address: str) -> None:
    """What would put a part of the password where addresses are shown is no address for us."""
    with pytest.raises(StoreUnavailable) as caught:
        parse(address)

    assert "3secret" not in f"{caught.value} {caught.value.hint} {caught.value.__context__}"


def test_a_written_out_password_is_hidden() -> None:
    """A password with every odd character, written out, is taken and not shown."""
    url = parse("postgresql://kubecase:%2F%23%3F%40:x@h:5432/kubecase?sslmode=verify-full")

    assert url.password == "/#?@:x"
    assert shown(url) == "postgresql://kubecase:***@h:5432/kubecase?sslmode=verify-full"


async def test_a_stopped_writer_holds_up_nobody_for_long(address: str) -> None:
    """A connection that was left in the middle of a change is ended by the server itself."""
    async with a_store(address) as store:
        held = await store._database.read(
            lambda connection: connection.exec_driver_sql(
                "SHOW idle_in_transaction_session_timeout"
            )
        )
        assert held.scalar_one() == "30s"


async def test_a_user_who_may_make_no_tables_is_told(postgres: Postgres) -> None:
    """A database in which the user may create nothing is an error of the operator's."""
    name = postgres.new_database()
    postgres.sql(name, f"CREATE USER {name} PASSWORD '{PASSWORD}';")
    address = postgres.address(name).replace("kubecase:", f"{name}:", 1)

    with pytest.raises(StoreUnavailable, match="permission denied") as caught:
        async with a_store(address):
            pass

    assert "GRANT CREATE" in (caught.value.hint or "")
