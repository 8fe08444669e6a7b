"""A real PostgreSQL server of the tests' own, from the distribution's package.

It runs as a user that is not root, in a temporary directory, on a socket there and on a port of
the loopback. One for a whole session of pytest (each worker of xdist has its own); every test gets
a database of its own, copied from one that has the tables.
"""

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "kubecase"
PASSWORD = "hunter2-of-the-tests"
TEMPLATE = "template_kubecase"


class Postgres:
    """A running server. `call` runs one of its programs, `sql` says statements to it."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self.programs = programs
        self.directory = directory
        self.port = _free_port()
        # The server refuses to run as root; its package brings a user for it.
        self.user = "postgres" if os.geteuid() == 0 else None
        self._numbers = itertools.count(1)

    def call(self, program: str, *arguments: str, stdin: str = "", timeout: float = 60) -> str:
        """What `program` prints; raises RuntimeError with its complaint."""
        result = subprocess.run(
            [self.programs / program, *arguments], input=stdin, user=self.user, text=True,
            capture_output=True, timeout=timeout, cwd=self.directory,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PGPASSWORD": PASSWORD},
        )  # fmt: skip
        if result.returncode != 0:
            raise RuntimeError(f"{program}: {result.stderr}")
        return result.stdout

    def sql(self, database: str, statements: str) -> str:
        """What the server answers, unaligned and without headings."""
        return self.call(
            "psql", *self.reached, "-d", database, "-v", "ON_ERROR_STOP=1", "-qtA",
            stdin=statements,
        )  # fmt: skip

    @property
    def reached(self) -> tuple[str, ...]:
        """The options by which the programs of PostgreSQL find this server."""
        return ("-h", str(self.directory), "-p", str(self.port), "-U", USER)

    def address(self, database: str) -> str:
        """The address of `database` over the loopback, with the password."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def by_socket(self, database: str) -> str:
        """The same by the socket, which asks for no password."""
        return f"postgresql://{USER}@/{database}?host={self.directory}&port={self.port}"

    def new_database(self, template: str = "template0") -> str:
        """The name of a new database, a copy of `template`."""
        name = f"case_{next(self._numbers)}"
        self.sql("postgres", f"CREATE DATABASE {name} TEMPLATE {template};")
        return name

    def drop(self, database: str) -> None:
        """Delete `database`, whoever is connected."""
        self.sql("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE);")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c fsync=off "
            f"-c unix_socket_directories={self.directory} -c max_connections=60"
        )
        self.call(
            "pg_ctl", "-D", "data", "-w", "-l", f"{self.directory}/log", "-o", options, "start"
        )

    def start_somewhere(self) -> None:
        """Start it for the first time, on another port where somebody was faster."""
        for _ in range(4):
            try:
                self.start()
            except RuntimeError:
                self.port = _free_port()
            else:
                return
        self.start()

    def stop(self) -> None:
        """Stop the server as a power cut would, and wait until it is gone."""
        self.call("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server of one's own, gone afterwards; skips where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server is installed here")
    directory = Path(tempfile.mkdtemp(prefix="kubecase-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres")
        server = Postgres(found[-1].parent, directory)
        server.call("initdb", "-D", "data", "-U", USER, "-A", "trust", "-N", "-E", "UTF8")
        (directory / "data" / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        server.start_somewhere()
        try:
            server.sql("postgres", f"ALTER USER {USER} PASSWORD '{PASSWORD}';")
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this session."""
    with running_postgres() as server:
        yield server
