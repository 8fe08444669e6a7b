"""One run of the command line: its jobs, its observers, its signals, and what came of it."""

import signal
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from kubecase.app import wiring
from kubecase.app.asking import Asking, who_is_asked
from kubecase.app.logs import LogObserver, configure_logs
from kubecase.app.metrics import ObserverGroup, RuntimeMetrics
from kubecase.app.notices import tell_before_exit
from kubecase.app.orphans import tidy
from kubecase.app.progress import LiveProgress, PlainProgress
from kubecase.app.settings import Loaded
from kubecase.channels.sources.file import load_intake
from kubecase.channels.sources.intake import FaultInput
from kubecase.clusters.recorded import JoinedCollector, NothingCollector, RecordedCollector
from kubecase.core.errors import ClusterUnavailable, FaultRejected, KubecaseError
from kubecase.core.model import Cause, Incident, IncidentId, Reason, Status
from kubecase.core.ports import Collector, Observer
from kubecase.service import Concluded
from kubecase.service.groups import unwrapped
from kubecase.service.report import agent_result

if TYPE_CHECKING:
    from kubecase.clusters import ClusterCollector
    from kubecase.store import Store

DEFAULT_CLUSTER = "default"
MAX_STDIN = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Job:
    """One fault to work, where its facts come from, and what it was taken for.

    `cluster` is the one that is asked, and that the agent is served; `incident` the one on record
    that another attempt is to be made at.
    """

    fault: FaultInput
    collector: Collector
    recognised: str
    cluster: "ClusterCollector | None" = None
    incident: Incident | None = None

    @property
    def live(self) -> bool:
        """Whether a cluster is asked."""
        return self.cluster is not None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one job. `operator_error` is set when a human can put right what failed."""

    job: Job
    concluded: Concluded
    interrupted: bool
    operator_error: KubecaseError | None

    @property
    def succeeded(self) -> bool:
        """Whether the agent found an answer."""
        return self.concluded.succeeded

    @property
    def result(self) -> dict[str, Any]:
        """The AgentResult of docs/formats.md, with where the reports lie."""
        reports = {kind: str(path) for kind, path in self.concluded.reports.items()}
        return {**agent_result(self.concluded.investigation), "reports": reports}


def jobs_for(
    target: str,
    loaded: Loaded,
    *,
    namespace: str | None,
    cluster: str | None,
    kubeconfig: Path | None,
    offline: bool = False,
) -> tuple[Job, ...]:
    """The jobs that `target` stands for: a file, a folder, `-`, or KIND/NAME in a cluster."""
    live = None if offline else wiring.cluster_collector(loaded.settings, cluster, kubeconfig)
    name = cluster or (live.context if live else DEFAULT_CLUSTER)
    if _names_object(target):
        return (_object_job(target, namespace, name, live),)
    source: str | bytes = sys.stdin.buffer.read(MAX_STDIN + 1) if target == "-" else target
    intake = load_intake(source, now=wiring.now(), cluster_default=name)
    if not intake.faults:
        raise FaultRejected(
            f"{target} is a {intake.form} in which nothing is firing",
            hint="There is nothing to investigate; resolved alerts are left out.",
        )
    notes = "".join(f"; {note}" for note in intake.notes)
    count = f", {len(intake.faults)} faults" if len(intake.faults) > 1 else ""
    return tuple(
        Job(
            fault=fault,
            collector=collector_for(fault, live),
            cluster=live,
            recognised=f"{target} is {an(intake.form)}{count}{notes}",
        )
        for fault in intake.faults
    )


def is_there(path: Path) -> bool:
    """Whether `path` exists; what cannot even be a path does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _names_object(target: str) -> bool:
    """Whether `target` is KIND/NAME; a file or folder of that name comes first.

    Raises KubecaseError for WORD/NAME that is neither.
    """
    if target == "-" or "/" not in target or is_there(Path(target)):
        return False
    from kubecase.clusters import parse_target

    if parse_target(target) is not None:
        return True
    word, _, name = target.partition("/")
    if word.isalpha() and name and "/" not in name and "." not in name and not is_there(Path(word)):
        raise KubecaseError(
            f"cannot look at {target}: {word!r} is no kind that kubecase knows, and no such file",
            hint="Kinds are pod, deployment, statefulset, daemonset, job, cronjob, node, service, "
            "persistentvolumeclaim, ... and kubectl's short names of these.",
        )
    return False


def _object_job(
    target: str, namespace: str | None, cluster: str, live: "ClusterCollector | None"
) -> Job:
    from kubecase.clusters import object_fault

    if live is None:
        raise KubecaseError(
            f"cannot look at {target}: no cluster was given",
            hint="Add --kubeconfig FILE or --cluster NAME; it is read with GET requests only. "
            "KUBECONFIG is not read, so that nothing is contacted by accident.",
        )
    namespace = namespace or live.namespace
    fault = object_fault(target, namespace=namespace, cluster=cluster, now=wiring.now())
    where = f" in {fault.resource.namespace}" if fault.resource.namespace else ""
    notes = "".join(f"; {note}" for note in live.notes)
    return Job(
        fault=FaultInput(fault=fault),
        collector=live,
        cluster=live,
        recognised=f"{target} is the {fault.resource.kind} {fault.resource.name}{where}{notes}",
    )


def an(form: str) -> str:
    """`form` with its article."""
    return f"an {form}" if form[0] in "aeiouAEIOU" else f"a {form}"


def collector_for(fault: FaultInput, live: Collector | None) -> Collector:
    """Where the facts of `fault` come from: the cluster, what came with it, both, or nothing."""
    if live is not None and fault.collection is not None:
        return JoinedCollector(live, fault.collection)
    if live is not None:
        return live
    if fault.collection is not None:
        return RecordedCollector(fault.collection)
    return NothingCollector(clock=wiring.now)


@dataclass(frozen=True, kw_only=True)
class Session:
    """Works jobs one after the other, watched by `view`, until done or told to stop."""

    loaded: Loaded
    view: LiveProgress | PlainProgress | None
    metrics_port: int | None = None

    async def work(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Work all of `jobs`; after an interruption the rest is left out."""
        settings = self.loaded.settings
        outcomes: list[Outcome] = []
        with unwrapped(), ExitStack() as closing:
            observer = self._observers(closing)
            stop = anyio.Event()
            async with (
                wiring.opened_store(settings, observer) as store,
                stopped_by_signals(
                    stop, observer, settings.agent_runtime.graceful_shutdown_seconds
                ),
            ):
                await tidy(settings, store, observer)
                for job in jobs:
                    concluded = await self._work_one(job, store, observer, stop)
                    if not stop.is_set():
                        await tell_before_exit(settings, store, observer, concluded)
                    left_out = len(jobs) > len(outcomes) + 1
                    outcomes.append(
                        _outcome(job, concluded, stopped=stop.is_set(), left_out=left_out)
                    )
                    if stop.is_set():
                        break
        return outcomes

    async def _work_one(
        self, job: Job, store: "Store", observer: Observer, stop: anyio.Event
    ) -> Concluded:
        asked = who_is_asked(self.loaded.settings)
        asking = Asking(loaded=self.loaded, store=store, observer=observer)
        work = asking.about(asked, job.collector, job.cluster)
        incident = job.incident or _incident(job)
        observer.record(
            "case_opened",
            incident_id=incident.id,
            cluster=incident.fault.cluster,
            what=_what(incident),
            agent=asked.in_words(),
            several=bool(asked.several),
        )
        return await work.work(incident, stop, again=job.incident is not None)

    def _observers(self, closing: ExitStack) -> Observer:
        settings = self.loaded.settings
        logs = configure_logs(
            settings.store.data_dir / "kubecase.log",
            level=settings.agent_runtime.log_level,
            structured=settings.agent_runtime.structured_logging,
            secrets=settings.secrets,
        )
        closing.callback(logs.close)
        observers: list[Observer] = [LogObserver(logs)]
        if settings.agent_runtime.metrics_enabled:
            metrics = RuntimeMetrics(clusters=[*settings.clusters, DEFAULT_CLUSTER])
            observers.append(metrics)
            closing.callback(metrics.write, settings.store.data_dir / "kubecase.prom")
            if self.metrics_port is not None:
                closing.callback(metrics.serve("127.0.0.1", self.metrics_port).close)
        if self.view is not None:
            observers.append(self.view)
        return ObserverGroup(*observers)


def _incident(job: Job) -> Incident:
    incident_id = job.fault.incident_id or IncidentId(str(uuid.uuid4()))
    return Incident(id=incident_id, fault=job.fault.fault, opened_at=wiring.now())


def _what(incident: Incident) -> str:
    fault = incident.fault
    place = f"{fault.resource.namespace}/" if fault.resource.namespace else ""
    word = fault.severity_word
    said = f", the source says {word}" if word and word.lower() != fault.severity else ""
    return f"{fault.reason} of {place}{fault.resource} ({fault.severity}{said})"


def _outcome(job: Job, concluded: Concluded, *, stopped: bool, left_out: bool) -> Outcome:
    investigation = concluded.investigation
    operator_error = concluded.operator_error
    if operator_error is None and job.live and _is_blind(concluded):
        operator_error = ClusterUnavailable(
            f"the cluster gave no answer: {concluded.machine['collected']['gaps'][0]['why']}",
            hint="Check the kubeconfig, its context and the way to the server; the report has "
            "nothing but the fault itself.",
        )
    if operator_error is None and investigation.reason is Reason.START_ERROR:
        exit = investigation.exit
        ran = exit is not None and exit.cause is not Cause.START_ERROR
        operator_error = KubecaseError(
            investigation.error or "cannot start the agent",
            hint="It does not do what it was asked to: use the version that docs/agents.md names; "
            "`kubecase doctor` shows what was found."
            if ran
            else "Correct agent_runtime.agent_command (AGENT_RUNTIME_COMMAND); `kubecase doctor` "
            "shows what was found.",
        )
    return Outcome(
        job=job,
        concluded=concluded,
        interrupted=stopped and (left_out or investigation.status is Status.CANCELLED),
        operator_error=operator_error,
    )


def _is_blind(concluded: Concluded) -> bool:
    """Whether nothing at all could be collected."""
    collected = concluded.machine["collected"]
    seen = ("objects", "events", "logs")
    return bool(collected["gaps"]) and not any(collected[name] for name in seen)


@asynccontextmanager
async def stopped_by_signals(
    stop: anyio.Event, observer: Observer, grace: float
) -> AsyncIterator[None]:
    """Set `stop` on SIGINT, SIGTERM or SIGHUP while in the block; a second one changes nothing."""

    async def listen() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            listening.set()
            async for number in signals:
                again = "already, after " if stop.is_set() else ""
                why = f"{again}{number.name}; the agent has {grace:.0f} s to end, then it is killed"
                observer.record("stopping", why=why)
                stop.set()

    listening = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await listening.wait()
        yield
        group.cancel_scope.cancel()
