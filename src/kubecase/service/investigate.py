"""One incident, one function: from an accepted fault to three reports, whatever happens between."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from kubecase.core.briefing import Briefing, brief
from kubecase.core.errors import KubecaseError
from kubecase.core.lifecycle import judge
from kubecase.core.model import (
    Ended,
    Exit,
    Incident,
    Investigation,
    Limits,
    Reason,
    Status,
)
from kubecase.core.ports import Agent, Collector, Observer, Runtime, Started, Stop
from kubecase.core.redact import Redactor
from kubecase.core.report import report_as_json
from kubecase.diagnosis import diagnose
from kubecase.service import builtin
from kubecase.service.case import (
    AGENT_LOG,
    HOME,
    NOTHING_BEFORE,
    REPORT,
    RESERVE,
    RESERVE_BYTES,
    TMP,
    Before,
    Case,
    ended_by,
    lost,
    note_missing_program,
    stopped,
    tell_error,
)
from kubecase.service.case_files import WorkspaceFiles
from kubecase.service.collecting import collected
from kubecase.service.conclude import Concluded, Conclusion, take_report
from kubecase.service.evidence import check_evidence
from kubecase.service.groups import unwrapped
from kubecase.service.known import saved_findings, tell_facts
from kubecase.service.preflight import Preflight
from kubecase.service.ran import settle
from kubecase.service.routes import Route, StaysOpen, closed
from kubecase.service.watch import Requested, Watch, mirrored, report_size
from kubecase.store import Attempt, CancelRequested, Store, Story
from kubecase.workspace import CleanupPolicy, SkillChoice, Workspace, copy_skills, hand_over

if TYPE_CHECKING:  # they bring the web server along, which most runs do without
    from kubecase.gateways.serving import RunAccess, RunServer


@dataclass(frozen=True, kw_only=True)
class Investigator:
    """Everything one investigation needs; built once by `app.wiring`.

    `agent` is None for the built-in investigator. `data` is the service's own directory, which no
    agent can reach; `workspaces` the root of all workspaces. `path` is the PATH that agents get.
    `agent_ids` are user and group of the agents, if those are not our own. `server` serves agents
    their model, the cluster and tools; without it they ask their model themselves.
    `program_version` tells that of the agent's program, where it does not do so itself.
    """

    agent: Agent | None
    runtime: Runtime
    store: Store
    collector: Collector
    observer: Observer
    redactor: Redactor
    workspaces: Path
    data: Path
    limits: Limits
    skills: SkillChoice | None
    path: str
    clock: Callable[[], datetime]
    require_report: bool = True
    exit_classes: bool = False
    cleanup: CleanupPolicy = CleanupPolicy.DELETE_AFTER_RETENTION
    warnings: Sequence[str] = field(default=())
    agent_ids: tuple[int, int] | None = None
    program_version: Callable[[], str | None] = lambda: None
    server: "RunServer | None" = None
    preflight: Preflight = field(default_factory=Preflight)
    routes: Sequence[Route] = ()

    @property
    def agent_name(self) -> str:
        """The name that stands in rows and metrics."""
        return self.agent.name if self.agent else builtin.NAME

    async def investigate(
        self,
        incident: Incident,
        stop: Stop,
        *,
        again: bool = False,
        before: Before = NOTHING_BEFORE,
        stays_open: StaysOpen = closed,
    ) -> Concluded:
        """Work `incident` to its end and return what became of it.

        With `again` it is on record already and this is one attempt more. `stays_open` says of an
        end whether another attempt follows, for which the incident is kept open.

        Raises IncidentExists when its id is on record already (without `again`), before anything
        is touched. From then on three reports and one final state follow, also when this is left
        by an error: an error of the operator's is a failed investigation, a bug of ours is raised
        after that.
        """
        if before.begun is not None:
            attempt = before.begun
        elif again:
            attempt = await self.store.begin_attempt(incident.id, self.agent_name, slot=before.slot)
        else:
            attempt = await self.store.begin(incident, agent=self.agent_name)
        case = self._case(incident, attempt)
        case.notes += before.notes
        case.opinions = before.opinions
        return await self._to_the_end(case, self._work(case, stop), stays_open)

    def _case(self, incident: Incident, attempt: Investigation) -> Case:
        case = Case(incident=incident, attempt=attempt, run_dir=self.data / "runs" / attempt.key)
        case.notes += self.warnings
        return case

    async def _to_the_end(
        self, case: Case, work: Awaitable[Ended], stays_open: StaysOpen = closed
    ) -> Concluded:
        """Whatever becomes of `work`: one final state, three reports."""
        try:
            with unwrapped():
                case.ended = await work
        except CancelRequested:
            case.ended = stopped()
        except KubecaseError as error:
            tell_error(self.observer, case, case.stage, error)
            case.operator_error = error
            case.ended = ended_by(case, error)
        finally:
            # Also after a bug of ours, and when we are shut down.
            with anyio.CancelScope(shield=True):
                if case.ended is None:
                    case.ended = self._ended_otherwise(case, sys.exception())
                case.stays_open = stays_open(case.ended)
                concluded = await Conclusion(investigator=self, case=case).draw()
        return concluded

    async def resume(self, orphan: Attempt, story: Story, stop: Stop) -> Concluded:
        """Conclude an attempt whose kubecase was killed, and which is owned by this one now.

        An agent that still runs is followed to its end; what ended meanwhile is taken from the
        record that its shim left; what was never started, or left no word, is `lost`.
        """
        case = self._case(story.incident, orphan.investigation)
        case.findings = saved_findings(story, orphan.investigation.attempt) or case.findings
        case.isolation_notes = orphan.isolation_notes
        case.notes.append(
            f"kubecase was killed while this attempt was {orphan.investigation.status}; another "
            "process took it over"
        )
        return await self._to_the_end(case, self._follow(case, orphan, stop))

    async def _follow(self, case: Case, orphan: Attempt, stop: Stop) -> Ended:
        case.stage = "take over"
        self.observer.record(
            "taken_over",
            incident_id=case.incident.id,
            cluster=case.incident.fault.cluster,
            attempt=case.attempt.attempt,
            status=case.attempt.status,
        )
        case.workspace = self._left_workspace(case)
        if self.agent is None or case.attempt.status is Status.CREATED:
            return lost("kubecase was killed before the agent had been started")
        if orphan.cancel_requested_at is not None:
            stop = Requested()
        async with self._served(self.agent, case, stop, again=True) as access:
            agent = access.agent if access else self.agent
            stop = case.stopping(access.stop if access else stop)
            exit = await self._attach(agent, case, stop)
        if exit is None:
            return lost("kubecase was killed before the agent had been started")
        case.stage, case.exit = "collect", exit
        if case.workspace is None:
            return lost("its workspace is gone")
        return await anyio.to_thread.run_sync(self._judge, agent, case, case.workspace, exit)

    async def _attach(self, agent: Agent, case: Case, stop: Stop) -> Exit | None:
        if case.workspace is None:
            watch = self._watch(agent, case, -1)
            return await self.runtime.attach(case.run_dir, stop=stop, watcher=watch)
        with mirrored(case.workspace) as mirror:
            watch = self._watch(agent, case, mirror)
            return await self.runtime.attach(case.run_dir, stop=stop, watcher=watch)

    def _left_workspace(self, case: Case) -> Workspace | None:
        """The workspace of an earlier process, if it came to make one."""
        try:
            return Workspace.open(self.workspaces, case.incident.id, case.attempt.attempt)
        except KubecaseError as error:
            case.notes.append(f"no workspace was left: {error}")
            return None

    async def _work(self, case: Case, stop: Stop) -> Ended:
        workspace, briefing = await self._prepare(case, stop)
        if stop.is_set():
            return stopped()
        case.stage = "start"
        case.attempt = await self.store.move(
            case.attempt,
            Status.STARTING,
            workspace=workspace.root,
            output_log=workspace.root / AGENT_LOG,
            # For whoever has to conclude if this process is killed; redacted as all on record is.
            findings=self.redactor.json(report_as_json(case.findings))[0],
        )
        if self.agent is None:
            return await self._answer_ourselves(case, workspace)
        return await self._ask(self.agent, case, workspace, briefing, stop)

    async def _prepare(self, case: Case, stop: Stop) -> tuple[Workspace, Briefing]:
        """Everything that comes before the agent: workspace, skills, facts, findings, briefing."""
        incident = case.incident
        workspace = Workspace.create(self.workspaces, incident.id, case.attempt.attempt)
        case.workspace = workspace
        self.observer.record(
            "workspace_created",
            incident_id=incident.id,
            cluster=incident.fault.cluster,
            workspace=workspace.root,
        )
        workspace.write({RESERVE: bytes(RESERVE_BYTES)})
        case.stage = "skills"
        if self.skills is not None:
            case.skills = copy_skills(workspace, self.skills)
        await self.preflight.check(case)
        case.stage = "context"
        collection = await collected(self.collector, incident.fault, stop, self.clock)
        case.collection = collection
        case.findings = await anyio.to_thread.run_sync(diagnose, collection)
        tell_facts(self.observer, case, collection)
        briefing = brief(
            incident,
            collection,
            case.findings,
            workspace=str(workspace.root),
            home=str(workspace.make_directory(HOME)),
            tmpdir=str(workspace.make_directory(TMP)),
            path=self.path,
            deadline=self.clock() + timedelta(seconds=self.limits.wall_clock),
            agent_name=self.agent_name,
            permissions=case.permissions,
            skills={each.name: each.description for each in case.skills},
            opinions=case.opinions,
            redactor=self.redactor,
        )
        workspace.write(briefing.files)
        case.context = briefing.files
        return workspace, briefing

    async def _answer_ourselves(self, case: Case, workspace: Workspace) -> Ended:
        case.attempt = await self.store.move(case.attempt, Status.RUNNING, started_at=self.clock())
        collection = case.collection
        assert collection is not None  # noqa: S101 - _prepare has just set it
        text = builtin.report_text(case.findings, collection)
        workspace.write({REPORT: text.encode(), AGENT_LOG: b""})
        case.agent_json = case.findings
        return Ended(status=Status.SUCCESS, reason=None, error=None)

    async def _ask(
        self, agent: Agent, case: Case, workspace: Workspace, briefing: Briefing, stop: Stop
    ) -> Ended:
        await self.preflight.check_agent(case)
        async with self._served(agent, case, stop) as access:
            if access is not None:
                agent, stop = access.agent, access.stop
            exit = await self._run(agent, case, workspace, briefing, case.stopping(stop))
            case.stage, case.exit = "collect", exit
            return await anyio.to_thread.run_sync(self._judge, agent, case, workspace, exit)

    @asynccontextmanager
    async def _served(
        self, agent: Agent, case: Case, stop: Stop, *, again: bool = False
    ) -> "AsyncIterator[RunAccess | None]":
        """What kubecase serves this run, if anything."""
        if self.server is None:
            yield None
            return
        files = WorkspaceFiles(workspace=case.workspace) if case.workspace else None
        cluster = case.incident.fault.cluster
        async with self.server.open(
            agent, run=case.attempt.key, cluster=cluster, stop=stop, files=files, again=again,
            context=None if again else case.context,
        ) as access:  # fmt: skip
            case.access = access
            yield access

    async def _run(
        self, agent: Agent, case: Case, workspace: Workspace, briefing: Briefing, stop: Stop
    ) -> Exit:
        command = agent.command(briefing, workspace.root, case.run_dir / "private")
        if case.access is not None:
            command = case.access.led(command, case.run_dir / "private")
        case.command = command
        workspace.write(command.files)
        mirror = workspace.create_log()
        try:
            if self.agent_ids is not None:
                hand_over(workspace, *self.agent_ids)
            watch = self._watch(agent, case, mirror)
            async with anyio.create_task_group() as beside:
                beside.start_soon(report_size, workspace.size, lambda n: self._tell_size(case, n))
                exit = await self.runtime.run(
                    command, self.limits, run_dir=case.run_dir, stop=stop, watcher=watch
                )
                beside.cancel_scope.cancel()
        finally:
            os.close(mirror)
        return exit

    def _watch(self, agent: Agent, case: Case, mirror: int) -> Watch:
        return Watch(
            incident=case.incident,
            agent=agent,
            observer=self.observer,
            mirror=mirror,
            begun=lambda started: self._begun(case, started),
            served=case.access.serve if case.access is not None else None,
            strange=case.began_strangely,
        )

    def _judge(self, agent: Agent, case: Case, workspace: Workspace, exit: Exit) -> Ended:
        note_missing_program(case, exit)
        case.verdict = agent.verdict(self.runtime.lines(case.run_dir), exit)
        report_bytes = take_report(case, workspace)
        check_evidence(case, self.data)
        exit = settle(case, exit, self.program_version)
        return judge(
            exit,
            case.verdict,
            report_bytes,
            report_refused=case.report_refused,
            require_report=self.require_report,
            exit_classes=self.exit_classes and case.verdict.reason is not Reason.START_ERROR,
        )

    async def _begun(self, case: Case, started: Started) -> None:
        case.stage = "run"
        case.isolation_notes = started.notes
        if case.attempt.status is Status.RUNNING:
            # On record since before it was taken over.
            self.observer.record(
                "agent_reattached",
                incident_id=case.incident.id,
                cluster=case.incident.fault.cluster,
                pid=started.pid,
            )
            return
        case.attempt = await self.store.move(
            case.attempt,
            Status.RUNNING,
            started_at=started.at,
            isolation=started.isolation,
            isolation_notes=started.notes,
        )
        command = case.command
        self.observer.record(
            "agent_started",
            incident_id=case.incident.id,
            cluster=case.incident.fault.cluster,
            command=command.argv if command else (),
            cwd=command.cwd if command else None,
            pid=started.pid,
            isolation=started.isolation,
        )

    def _tell_size(self, case: Case, size: int) -> None:
        self.observer.record("workspace_size", cluster=case.incident.fault.cluster, bytes=size)

    def _ended_otherwise(self, case: Case, error: BaseException | None) -> Ended:
        if isinstance(error, Exception):
            tell_error(self.observer, case, "internal", error)
        return ended_by(case, error)
