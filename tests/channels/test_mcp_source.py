"""A server that pushes faults by MCP: they come in, whatever server and connection do meanwhile."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from fakes.mcp_faults import FAULT, FakeMcp
from kubecase.channels.sources.mcp import WAITING, McpSource
from kubecase.channels.sources.mcp_wire import Pace
from kubecase.channels.sources.reconnecting import BackOff
from kubecase.core.model import Fault
from kubecase.core.ports import Credential
from kubecase.core.severity import Severity

pytestmark = pytest.mark.anyio

QUICK = Pace(ping=0.1, answer=5, reopen=0.05, steady=0, unsuited=0.05)


@dataclass
class Heard:
    """An observer that remembers states, reasons and errors."""

    states: list[dict[str, Any]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def record(self, event: str, /, **fields: Any) -> None:
        if event == "source_state":
            self.states.append(fields)
        if event == "source_reconnecting":
            self.reasons[fields["reason"]] += 1
        if event == "error":
            self.errors.append(str(fields["error"]))

    @property
    def words(self) -> list[str]:
        return [each["state"] for each in self.states]


@dataclass
class Taken:
    """What a source yielded, and what it told."""

    source: McpSource
    heard: Heard
    faults: list[Fault] = field(default_factory=list)
    ended: bool = False

    @property
    def names(self) -> list[str]:
        return [fault.resource.name for fault in self.faults]

    async def until(self, holds: Callable[[], bool], seconds: float = 30) -> None:
        with anyio.fail_after(seconds):
            while not holds():
                await anyio.sleep(0.01)

    async def active(self) -> None:
        await self.until(lambda: self.heard.words[-1:] == ["active"])


@asynccontextmanager
async def taking(
    server: FakeMcp, *, pace: Pace = QUICK, cluster: str | None = "prod", **changes: Any
) -> AsyncIterator[Taken]:
    heard = Heard()
    source = McpSource(
        name="events", url=server.url, cluster=cluster, observer=heard, pace=pace,
        token=changes.pop("token", None), clock=lambda: datetime.now(UTC),
        back_off=lambda: BackOff(first=0.01, longest=0.05), **changes,
    )  # fmt: skip
    taken = Taken(source, heard)

    async def run() -> None:
        async for fault in source.faults():
            taken.faults.append(fault)
        taken.ended = True

    task = asyncio.create_task(run())
    try:
        yield taken
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() or task.exception() is None


def fault(name: str, **changes: Any) -> dict[str, Any]:
    return {
        **FAULT, "faultId": name, "resource": {**FAULT["resource"], "name": name}, **changes,
    }  # fmt: skip


async def test_a_pushed_fault_comes_out_as_it_was_sent() -> None:
    """A fault has the configured cluster, its own words, and the payload as it came."""
    with FakeMcp() as server:
        async with taking(server) as taken:
            await taken.active()
            server.push(FAULT)
            server.push(fault("odd", faultType="SomethingNew", severity="P9", cluster="theirs"))
            await taken.until(lambda: len(taken.faults) == 2)

    first, second = taken.faults
    assert (first.cluster, first.reason, first.severity) == ("prod", "CrashLoop", Severity.CRITICAL)
    assert (str(first.resource), first.resource.namespace) == ("Pod/api-0", "shop")
    assert json.loads(first.raw) == FAULT
    assert (second.cluster, second.reason, second.severity_word) == ("prod", "SomethingNew", "P9")
    assert server.calls[0] == "initialize"
    assert server.calls.index("logging/setLevel") < server.calls.index("events_subscribe")
    words = taken.heard.words
    assert words[:4] == ["connecting", "connected", "subscribing", "active"]
    assert all(
        (each["cluster"], each["source"]) == ("prod", "events") for each in taken.heard.states
    )


async def test_without_a_configured_cluster_the_servers_word_counts() -> None:
    """An empty cluster is the default one."""
    with FakeMcp() as server:
        async with taking(server, cluster=None) as taken:
            await taken.active()
            server.push(fault("one", cluster="theirs"))
            server.push(fault("two", cluster=""))
            await taken.until(lambda: len(taken.faults) == 2)

    assert [each.cluster for each in taken.faults] == ["theirs", "default"]


async def test_a_subscription_that_was_dropped_is_made_again() -> None:
    """The server forgets the subscription and keeps the session: the next look subscribes anew."""
    with FakeMcp() as server:
        async with taking(server) as taken:
            await taken.active()
            server.drop_subscriptions()
            await taken.until(lambda: bool(server.subscriptions))
            server.push(fault("later"))
            await taken.until(lambda: taken.names == ["later"])

    assert server.made == 1
    assert taken.heard.reasons["subscription"] >= 1


async def test_a_subscription_in_trouble_is_degraded_and_made_again() -> None:
    """The server's own word that a subscription fails is told, without control characters; trouble
    of another's subscription is none of ours.
    """
    with FakeMcp() as server:
        async with taking(server, pace=Pace(ping=0.5, reopen=0.05)) as taken:
            await taken.active()
            (ours,) = server.subscriptions
            other = {"subscriptionId": "sub-other", "error": "not ours", "degraded": True}
            server.push(other, "kubernetes/subscription_error")
            server.push({**other, "subscriptionId": ours, "error": "watch \x1b[2J closed"},
                        "kubernetes/subscription_error")  # fmt: skip
            await taken.until(lambda: "degraded" in taken.heard.words)
            await taken.active()
            assert ours not in server.subscriptions

    told = [each["error"] for each in taken.heard.states if each["state"] == "degraded"]
    assert len(told) == 1
    assert "watch" in told[0]
    assert "\x1b" not in told[0]


async def test_a_restarted_server_gets_a_fresh_session() -> None:
    """A server that answers 404 has forgotten us; a fault after that is not missed."""
    with FakeMcp() as server:
        async with taking(server) as taken:
            await taken.active()
            server.restart()
            await taken.until(lambda: server.made == 2 and bool(server.subscriptions))
            server.push(fault("after"))
            await taken.until(lambda: taken.names == ["after"])

    assert taken.heard.reasons["restarted"] == 1


async def test_a_server_that_went_away_is_found_again_when_it_is_back() -> None:
    """Nothing listens at the address for a while: degraded, with the next try, and no end."""
    with FakeMcp() as gone:
        pass
    async with taking(gone) as taken:
        await taken.until(lambda: taken.heard.reasons["unreachable"] >= 3)

    assert all("retry_in" in each for each in taken.heard.states if each["state"] == "degraded")


async def test_a_deaf_server_is_left() -> None:
    """Two pings without an answer end the session, and the next one hears again."""
    with FakeMcp() as server:
        async with taking(server, pace=Pace(ping=0.05, answer=0.2, reopen=0.05)) as taken:
            await taken.active()
            server.deaf.set()
            await taken.until(lambda: taken.heard.reasons["silent"] >= 1)
            server.deaf.clear()
            await taken.active()

    assert server.made >= 2


async def test_a_stream_that_stays_closed_is_noticed_though_pings_are_answered() -> None:
    """The SDK gives the stream up without a word: the session is then made anew."""
    with FakeMcp() as server:
        async with taking(server) as taken:
            await taken.active()
            server.stream = False
            server.close_streams()
            await taken.until(lambda: taken.heard.reasons["deaf"] >= 1)
            server.stream = True
            await taken.until(lambda: "session-1" not in server.known)
            await taken.until(lambda: bool(server.subscriptions))
            await taken.active()
            server.push(fault("heard"))
            await taken.until(lambda: taken.names == ["heard"])


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_ends_the_source_with_the_remedy(status: int) -> None:
    """401 and 403 are told once, as failed, and the server is asked no more."""
    with FakeMcp() as server:
        server.refuse = (status, {})
        async with taking(server, token=Credential(variable="T", value="s3cret")) as taken:
            await taken.until(lambda: taken.ended)

    assert server.tokens == {"Bearer s3cret"}
    assert taken.heard.words == ["connecting", "failed"]
    assert str(status) in taken.heard.states[-1]["error"]
    assert "token_env" in taken.heard.states[-1]["error"]
    assert "s3cret" not in str(taken.heard.states) + repr(taken.source)


async def test_a_refusal_in_the_middle_ends_it_too() -> None:
    """A token that is taken back while the session lives is a refusal like any other."""
    with FakeMcp() as server:
        async with taking(server) as taken:
            await taken.active()
            server.refuse = (401, {})
            await taken.until(lambda: taken.ended)

    assert taken.heard.words[-1] == "failed"


async def test_a_throttled_source_waits_as_long_as_it_is_told() -> None:
    """Retry-After of a 429 is heeded, and the pause is told."""
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)
        await anyio.sleep(0.01)

    with FakeMcp() as server:
        server.refuse = (429, {"Retry-After": "7"})
        async with taking(server, pause=pause) as taken:
            await taken.until(lambda: taken.heard.reasons["throttled"] >= 2)
            server.refuse = None
            await taken.active()

    assert min(waited[:2]) >= 7
    assert taken.heard.states[1]["retry_in"] >= 7


def _no_tool(server: FakeMcp) -> None:
    server.tools = ("events_list", "pods_list")


def _no_logging(server: FakeMcp) -> None:
    server.logging = False


def _no_stream(server: FakeMcp) -> None:
    server.stream = False


def _no_sessions(server: FakeMcp) -> None:
    server.keeps_sessions = False


def _modern(server: FakeMcp) -> None:
    server.modern = True


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        (_no_tool, "only a fork of kubernetes-mcp-server"), (_no_logging, "logging/setLevel"),
        (_no_stream, "no stream"), (_no_sessions, "keeps no sessions"), (_modern, "2026-07"),
    ],
)  # fmt: skip
async def test_a_server_that_cannot_push_is_failed_and_asked_again(
    lacks: Callable[[FakeMcp], None], words: str
) -> None:
    """What is missing is said, and a server that has it after an upgrade is used."""
    with FakeMcp() as server:
        lacks(server)
        async with taking(server) as taken:
            await taken.until(lambda: taken.heard.reasons["unsuited"] >= 2)
            server.tools = FakeMcp().tools
            server.logging = server.stream = server.keeps_sessions = True
            server.modern = False
            await taken.active()

    failed = [each for each in taken.heard.states if each["state"] == "failed"]
    assert words in failed[0]["error"]
    assert failed[0]["retry_in"] == pytest.approx(QUICK.unsuited, abs=0.1)


async def test_a_failed_subscription_is_told_and_tried_again() -> None:
    """`isError` is a failure of the server's, in its own words."""
    with FakeMcp() as server:
        server.failing = "events_subscribe"
        async with taking(server) as taken:
            await taken.until(lambda: taken.heard.reasons["error"] >= 2)
            server.failing = None
            await taken.active()

    told = next(each["error"] for each in taken.heard.states if each["state"] == "degraded")
    assert "informer" in told
    assert "\x1b" not in told


HOSTILE: list[Any] = [
    None, 7, "text", [], {}, {"faultType": "CrashLoop"}, {**FAULT, "resource": "no/such/thing/at"},
    {**FAULT, "resource": {"kind": "Pod", "name": "x" * 5000}}, {**FAULT, "faultType": 9},
    {**FAULT, "context": "y" * 700_000, "faultType": "z" * 2000},
    json.loads('{"a":' * 90 + "1" + "}" * 90),
]  # fmt: skip


async def test_what_cannot_be_mapped_costs_itself_only() -> None:
    """Payloads of no sense, too deep or with endless names are told of, and the next comes out."""
    with FakeMcp() as server:
        async with taking(server) as taken:
            await taken.active()
            for each in HOSTILE:
                server.push(each)
            (session,) = server.known
            server.send(session, {"level": "noise", "logger": 7, "data": FAULT})
            for raw in (b"not json", b"[" * 5000, b'{"jsonrpc": "2.0"}', b"\xff\xfe"):
                server.raw(session, raw)
            server.push(fault("last"))
            await taken.until(lambda: taken.names == ["last"])
            await taken.until(lambda: any("could not be mapped" in e for e in taken.heard.errors))

    assert server.made == 1


async def test_an_event_without_end_costs_the_stream_only() -> None:
    """More than a mebibyte in one event is not kept: the session is made anew."""
    with FakeMcp() as server:
        async with taking(server) as taken:
            await taken.active()
            server.push({**FAULT, "context": "x" * 3_000_000})
            await taken.until(lambda: server.made == 2 and bool(server.subscriptions))
            await taken.active()
            server.push(fault("next"))
            await taken.until(lambda: "next" in taken.names)

    assert taken.names == ["next"]


async def test_the_same_fault_of_the_same_moment_is_no_news() -> None:
    """What a server repeats after a new subscription is told once; a new moment is told again."""
    with FakeMcp() as server:
        async with taking(server) as taken:
            await taken.active()
            for each in (FAULT, FAULT, {**FAULT, "timestamp": "2026-01-02T03:19:05Z"}):
                server.push(each)
            server.push(fault("end"))
            await taken.until(lambda: "end" in taken.names)

    assert taken.names == ["api-0", "api-0", "end"]


async def test_a_flood_is_bounded_and_told() -> None:
    """Faults that nobody takes in are kept up to a limit; the number of those lost is on record."""
    with FakeMcp() as server:
        heard = Heard()
        source = McpSource(
            name="events", url=server.url, cluster="prod", token=None, observer=heard, pace=QUICK,
            clock=lambda: datetime.now(UTC),
        )  # fmt: skip
        faults = source.faults()
        first = asyncio.create_task(anext(faults))
        while not server.subscriptions or "active" not in heard.words:
            await anyio.sleep(0.01)
        for number in range(WAITING + 50):
            server.push(fault(f"pod-{number}"))
        assert (await first).resource.name == "pod-0"
        with anyio.fail_after(30):
            while not any("lost" in each for each in heard.errors):
                await anyio.sleep(0.01)
        await faults.aclose()  # type: ignore[attr-defined]


async def test_a_source_that_ends_says_good_bye() -> None:
    """The session is ended there, too, so that the server pushes to nobody."""
    with FakeMcp() as server:
        async with taking(server) as taken:
            await taken.active()
        assert server.calls[-1] == "DELETE"
        assert not server.known


def test_mcp_is_loaded_when_a_session_is_opened_and_not_before() -> None:
    """The SDK is slow to import: the source's modules do without it until they run."""
    program = (
        "import sys, kubecase.channels.sources.mcp, kubecase.app.source_parts; "
        "print([n for n in sys.modules if n == 'mcp' or n.startswith(('mcp.', 'mcp_types'))])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "[]"
