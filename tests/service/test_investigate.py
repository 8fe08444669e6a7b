"""One incident, one function: what stands on record when each stage fails, with injected parts."""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from kubecase.agents.options import AgentSettings
from kubecase.agents.scripted import Scripted
from kubecase.core.briefing import Briefing
from kubecase.core.errors import AgentUnavailable, ClusterUnavailable, IncidentExists
from kubecase.core.model import (
    Collection,
    Command,
    Exit,
    Fault,
    Incident,
    IncidentId,
    Limits,
    Reason,
    Resource,
    Status,
    Verdict,
)
from kubecase.core.ports import Agent, AgentEvent, Capabilities, Offers
from kubecase.core.redact import Redactor
from kubecase.core.severity import Severity
from kubecase.runtime import ProcessRuntime
from kubecase.service import Investigator
from kubecase.store import Owner, Store
from kubecase.workspace import CleanupPolicy, SkillChoice, shipped_skills_source
from service.workshop import Heard, now

pytestmark = pytest.mark.anyio

REPORTS = ("final-report.md", "final-report.html", "final-report.json")


@dataclass
class Collects:
    """A collector that answers with `found`, or raises it."""

    found: Collection | Exception

    async def collect(self, fault: Fault) -> Collection:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@dataclass
class NeverAnswers:
    """A collector that waits until it is cancelled."""

    asked: anyio.Event = field(default_factory=anyio.Event)

    async def collect(self, fault: Fault) -> Collection:
        self.asked.set()
        await anyio.sleep_forever()
        raise AssertionError


@dataclass
class Refuses:
    """An agent whose command cannot be made."""

    error: Exception
    name: str = "refuses"
    variables: frozenset[str] = frozenset()
    capabilities: Capabilities = field(default_factory=Capabilities)
    offers: Offers | None = None

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        raise self.error

    def verify_start(self, line: bytes) -> str | None:
        return None

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        return ()

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        return Verdict(report=None)


def incident(**changes: Any) -> Incident:
    fault = Fault(
        fingerprint="f1",
        cluster="dev",
        resource=Resource(kind="Pod", name="api-0", namespace="shop"),
        reason="CrashLoop",
        message="exited 1",
        severity=Severity.WARNING,
        severity_word="warning",
        seen_at=now(),
        raw=b'{"kind": "Fault", "unknown": [1, 2]}',
    )
    return Incident(
        id=IncidentId(str(uuid.uuid4())), fault=replace(fault, **changes), opened_at=now()
    )


@pytest.fixture
async def store(tmp_path: Path, heard: Heard) -> AsyncIterator[Store]:
    path = tmp_path / "data" / "kubecase.db"
    async with Store.open(path, owner=Owner.current(), observer=heard) as opened:
        yield opened


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def build(store: Store, heard: Heard, tmp_path: Path) -> Callable[..., Investigator]:
    """An investigator whose parts can be exchanged one by one."""

    def made(agent: Agent | None = None, **changes: Any) -> Investigator:
        whole = Investigator(
            agent=agent,
            runtime=ProcessRuntime(),
            store=store,
            collector=Collects(Collection(collected_at=now(), trigger=None)),
            observer=heard,
            redactor=Redactor(),
            workspaces=tmp_path / "workspaces",
            data=tmp_path / "data",
            limits=Limits(
                wall_clock=30, grace=1, idle=None, output_bytes=1 << 20, disk_bytes=1 << 26
            ),
            skills=SkillChoice(sources=(shipped_skills_source(),)),
            path="/usr/local/bin:/usr/bin:/bin",
            clock=now,
            cleanup=CleanupPolicy.KEEP_ALWAYS,
        )
        return replace(whole, **changes)

    return made


async def test_the_builtin_investigator_needs_nothing_else(
    build: Callable[..., Investigator], heard: Heard, store: Store
) -> None:
    """Without an agent a case ends in success with its findings as the report (req 19.4, 19.5)."""
    case = incident()

    concluded = await build().investigate(case, anyio.Event())

    assert concluded.investigation.status is Status.SUCCESS
    workspace = concluded.investigation.workspace
    assert workspace is not None
    assert (workspace / "output/investigation.md").stat().st_size > 100
    assert (workspace / "context/event.json").read_bytes() == case.fault.raw
    assert (workspace / ".claude/skills/kubernetes-triage/SKILL.md").is_file()
    (skill,) = json.loads((workspace / ".claude/skills.json").read_text())
    final = json.loads((workspace / "output/final-report.json").read_text())
    told = f"kubernetes-triage {skill['version']} {skill['tree_hash'][:12]}"
    assert final["run"]["skills"] == [told]
    assert told in (workspace / "output/final-report.md").read_text()
    assert {(e["from"], e["to"]) for e in heard.named("state_changed")} == {
        ("created", "starting"), ("starting", "running"), ("running", "success"),
    }  # fmt: skip
    assert (await store.status(case.id)).status is Status.SUCCESS


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"workspaces": Path("/proc/nowhere")}, "workspace"),
        ({"skills": SkillChoice(sources=(Path("/nonexistent/skills"),))}, "skills"),
        ({"collector": Collects(ClusterUnavailable("cannot reach dev"))}, "context"),
        ({"agent": Refuses(AgentUnavailable("cannot use it", hint="Install it."))}, "start"),
    ],
    ids=["workspace", "skills", "context", "start"],
)
async def test_an_operators_error_at_any_stage_is_a_failed_case_with_three_reports(
    build: Callable[..., Investigator], heard: Heard, changes: dict[str, Any], stage: str
) -> None:
    """Whatever stage fails is named with its cause, reported, and told once (req 12.1, 12.5)."""
    concluded = await build(**changes).investigate(incident(), anyio.Event())

    done = concluded.investigation
    assert done.status is Status.FAILED
    assert done.error is not None
    assert done.error.startswith(f"{stage}: ")
    assert concluded.operator_error is not None
    assert [path.name for path in concluded.reports.values()] == list(REPORTS)
    for path in concluded.reports.values():
        assert path.stat().st_size > 300
    assert [fields["error_type"] for fields in heard.named("error")] == [stage]
    assert len(heard.named("agent_completed")) == 1


async def test_a_bug_of_ours_is_raised_after_its_report(
    build: Callable[..., Investigator], store: Store, tmp_path: Path
) -> None:
    """An unexpected exception leaves three reports and a final state, then goes on (req 12.2)."""
    case = incident()

    with pytest.raises(ZeroDivisionError):
        await build(agent=Refuses(ZeroDivisionError("oops"))).investigate(case, anyio.Event())

    done = await store.status(case.id)
    assert (done.status, done.reason) == (Status.FAILED, Reason.INTERNAL)
    assert "ZeroDivisionError: oops" in str(done.error)
    kept = tmp_path / "data" / "artifacts" / f"{case.id}-1"
    assert sorted(path.name for path in kept.iterdir()) == sorted(REPORTS)


async def test_a_stop_while_facts_are_collected_cancels_without_a_start(
    build: Callable[..., Investigator], heard: Heard
) -> None:
    """A cluster that never answers does not hold up a request to stop (req 9.6)."""
    collector, stop = NeverAnswers(), anyio.Event()
    results = []

    async with anyio.create_task_group() as group:

        async def work() -> None:
            results.append(
                await build(collector=collector, agent=Scripted.configured(AgentSettings()))
                .investigate(incident(), stop)
            )  # fmt: skip

        group.start_soon(work)
        await collector.asked.wait()
        stop.set()

    assert results[0].investigation.status is Status.CANCELLED
    assert heard.named("agent_started") == []
    assert len(results[0].reports) == 3


async def test_a_cancel_on_record_before_the_start_spawns_nothing(
    build: Callable[..., Investigator], heard: Heard, store: Store
) -> None:
    """A cancel that comes before the start ends the case without a process (req 9.6)."""
    case = incident()

    class CancelsMeanwhile:
        async def collect(self, fault: Fault) -> Collection:
            await store.request_cancel(case.id)
            return Collection(collected_at=now(), trigger=None)

    concluded = await build(
        collector=CancelsMeanwhile(), agent=Scripted.configured(AgentSettings())
    ).investigate(case, anyio.Event())

    assert concluded.investigation.status is Status.CANCELLED
    assert heard.named("agent_started") == []


async def test_shutting_down_still_concludes(
    build: Callable[..., Investigator], store: Store
) -> None:
    """When our own task is cancelled, the case still ends on record with its reports (req 12.3)."""
    collector, case = NeverAnswers(), incident()

    async with anyio.create_task_group() as group:
        group.start_soon(build(collector=collector).investigate, case, anyio.Event())
        await collector.asked.wait()
        group.cancel_scope.cancel()

    done = await store.status(case.id)
    assert done.status is Status.CANCELLED
    assert done.workspace is not None
    assert (done.workspace / "output" / "final-report.html").is_file()


async def test_the_same_incident_is_refused_before_anything_is_touched(
    build: Callable[..., Investigator], heard: Heard
) -> None:
    """A second investigation of one id raises, and the first case stays as it is (req 3.4)."""
    case = incident()
    first = await build().investigate(case, anyio.Event())
    seen = len(heard.events)

    with pytest.raises(IncidentExists):
        await build().investigate(case, anyio.Event())

    assert len(heard.events) == seen
    assert first.reports["md"].is_file()


class Chokes(Redactor):
    """A redactor with a bug."""

    def json(self, value: Any) -> tuple[Any, int]:
        raise TypeError("unhashable")


async def test_a_bug_while_the_reports_are_made_leaves_plain_ones(
    build: Callable[..., Investigator], store: Store
) -> None:
    """Even when rendering fails there are three reports and a final state (req 12.2, 12.5)."""
    case = incident()

    with pytest.raises(TypeError):
        await build(redactor=Chokes()).investigate(case, anyio.Event())

    done = await store.status(case.id)
    assert done.status is Status.FAILED
    assert done.workspace is not None
    for name in REPORTS:
        assert (done.workspace / "output" / name).stat().st_size > 150
    machine = json.loads((done.workspace / "output" / "final-report.json").read_text())
    assert machine["result"]["status"] == "failed"


@pytest.mark.parametrize(
    "text", ['{"kind":[]}', '[{"kind":{}}]', '{"kind":"Secret","data":[],"items":{}}']
)
async def test_no_text_from_outside_costs_the_report(
    build: Callable[..., Investigator], tmp_path: Path, text: str
) -> None:
    """JSON of odd shapes in a message, a log or an agent's report is shown like any other text."""
    from kubecase.agents.command import CommandAgent

    program = tmp_path / "agent"
    program.write_text(
        f"#!/bin/sh\ncat >/dev/null\necho '{text}'\n"
        f"echo '{text}' >output/investigation.md\necho '{text}' >output/report.json\nexit 3\n"
    )
    program.chmod(0o755)
    agent = CommandAgent.configured(AgentSettings(argv=(str(program),)))

    concluded = await build(agent=agent).investigate(
        incident(message=text, raw=text.encode()), anyio.Event()
    )

    assert concluded.investigation.reason is Reason.EXIT_CODE
    assert len(concluded.reports) == 3


async def test_a_record_that_is_locked_for_a_while_still_gets_its_end(
    build: Callable[..., Investigator], store: Store, tmp_path: Path
) -> None:
    """A store that cannot be written for some seconds does not leave a case running (req 9.7)."""
    import sqlite3

    case, collector, locked = incident(), NeverAnswers(), anyio.Event()
    stop = anyio.Event()

    async def hold() -> None:
        await collector.asked.wait()
        lock = sqlite3.connect(tmp_path / "data" / "kubecase.db", check_same_thread=False)
        lock.execute("BEGIN IMMEDIATE")
        locked.set()
        stop.set()
        await anyio.sleep(6.5)  # longer than the store's own patience
        lock.rollback()
        lock.close()

    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        await build(collector=collector).investigate(case, stop)

    assert locked.is_set()
    assert (await store.status(case.id)).status is Status.CANCELLED


async def test_a_long_report_is_cut_and_a_trap_is_named(
    build: Callable[..., Investigator], tmp_path: Path
) -> None:
    """A report over its limit counts with its beginning; a link in its place is named as such."""
    from kubecase.agents.command import CommandAgent

    results = []
    for number, line in enumerate(
        (
            "yes report | head -c 3000000 >output/investigation.md",
            "ln -s /etc output/investigation.md",
        )
    ):
        program = tmp_path / f"agent{number}"
        program.write_text(f"#!/bin/sh\ncat >/dev/null\n{line}\n")
        program.chmod(0o755)
        agent = CommandAgent.configured(AgentSettings(argv=(str(program),)))
        results.append(await build(agent=agent).investigate(incident(), anyio.Event()))

    long, link = results
    assert long.investigation.status is Status.SUCCESS
    assert any("was cut" in note for note in long.notes)
    assert link.investigation.reason is Reason.NO_REPORT
    assert "was not taken" in str(link.investigation.error)


async def test_a_flood_of_lines_does_not_hold_up_a_stop(
    build: Callable[..., Investigator], tmp_path: Path, heard: Heard
) -> None:
    """Millions of short lines cost neither the deadline nor a request to stop (req 8.1)."""
    from kubecase.agents.command import CommandAgent

    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\ncat >/dev/null\nyes | head -c 6000000\nsleep 60\n")
    program.chmod(0o755)
    agent = CommandAgent.configured(AgentSettings(argv=(str(program),)))
    limits = Limits(wall_clock=2, grace=1, idle=None, output_bytes=1 << 30, disk_bytes=1 << 30)

    concluded = await build(agent=agent, limits=limits).investigate(incident(), anyio.Event())

    done = concluded.investigation
    assert done.status is Status.TIMEOUT
    assert done.ended_at is not None
    assert done.started_at is not None
    assert (done.ended_at - done.started_at).total_seconds() < 12
    assert len(heard.named("agent_event")) < 5000


async def test_what_an_agent_puts_in_the_reports_place_is_replaced(
    build: Callable[..., Investigator], tmp_path: Path
) -> None:
    """Links and directories where our reports belong lead nowhere (req 3.7, 16.3)."""
    outside = tmp_path / "outside"
    outside.write_text("mine")
    program = tmp_path / "agent"
    program.write_text(
        "#!/bin/sh\ncat >/dev/null\n"
        f"ln -s {outside} output/final-report.md\nmkdir -p output/final-report.html/x\n"
        f"rm output/agent.log; ln -s {outside} output/agent.log\necho said\n"
        f"ln -s {outside} output/investigation.md\nln -s /etc output/artifacts/etc\n"
    )
    program.chmod(0o755)
    from kubecase.agents.command import CommandAgent

    agent = CommandAgent.configured(AgentSettings(argv=(str(program),)))

    concluded = await build(agent=agent).investigate(incident(), anyio.Event())

    done = concluded.investigation
    assert done.workspace is not None
    assert outside.read_text() == "mine"
    assert (done.status, done.reason) == (Status.FAILED, Reason.NO_REPORT)
    assert [rejected.path for rejected in done.rejected] == ["output/artifacts/etc"]
    assert (done.workspace / "output/agent.log").read_text() == "said\n"
    assert not (done.workspace / "output/agent.log").is_symlink()
    machine = json.loads(concluded.reports["json"].read_text())
    assert machine["result"]["status"] == "failed"
