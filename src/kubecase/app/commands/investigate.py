"""`kubecase investigate`, `retry` and `demo`: one investigation now, in sight of whoever asked."""

import json as jsonlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kubecase.app.boundary import (
    AGENT_FAILED,
    INTERRUPTED,
    OPERATOR,
    SUCCESS,
    reader_may_leave,
    tell,
)
from kubecase.app.commands.options import DEFAULT, Json, Shared
from kubecase.app.progress import progress

if TYPE_CHECKING:
    from kubecase.app.session import Job, Outcome
    from kubecase.app.settings import Loaded


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Facts:
    """Where the facts of a fault come from, besides the fault itself."""

    namespace: Annotated[str | None, Parameter(alias="-n")] = None
    "Namespace of KIND/NAME."

    cluster: str | None = None
    "Name of a configured cluster to read facts from, with GET requests only."

    kubeconfig: Path | None = None
    "Kubeconfig of the cluster to read facts from, with GET requests only."

    allow_write_capable: Annotated[bool, Parameter(negative="")] = False
    "Accept a credential that can write; the gateway lets the agent only read with it."

    def jobs(self, target: str, loaded: "Loaded") -> "Sequence[Job]":
        """What is to be done about `target`."""
        from kubecase.app.session import jobs_for

        if self.namespace and self.kubeconfig is None and self.cluster is None:
            print("kubecase: warning: -n is for KIND/NAME in a cluster", file=sys.stderr)
        return jobs_for(
            target,
            loaded,
            namespace=self.namespace,
            cluster=self.cluster,
            kubeconfig=self.kubeconfig,
        )


NO_CLUSTER = Facts()


def investigate(
    target: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    agent: str | None = None,
    timeout: str | None = None,
    facts: Facts = NO_CLUSTER,
    metrics_port: int | None = None,
    json: Json = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    shared: Shared = DEFAULT,
) -> int:
    """Investigate one fault now and write three reports.

    Exit code: 0 the agent finished, 1 it did not, 2 something you can put right, 3 a bug of ours,
    130 interrupted. Once a case is open, its reports exist whatever the code; no process is left.

    Like this:

        kubecase investigate fault.json
        kubectl get event NAME -o json | kubecase investigate -
        kubecase investigate pod/api-0 -n shop --kubeconfig ~/.kube/config
        AGENT_RUNTIME_COMMAND=./agent kubecase investigate --agent command f.json

    Parameters
    ----------
    target
        A file, a folder of recorded objects, `-` for standard input, or KIND/NAME of an object in
        the cluster. A file may hold a kubecase fault, a Kubernetes Event, an Alertmanager payload,
        a CloudEvent or a triage case; what it was taken for is said. Without --cluster or a
        kubeconfig nothing is contacted.
    agent
        builtin, claude, codex, gemini, opencode, goose, openai_chat, command, auto, or several (,).
    timeout
        Time limit of the agent, such as 90s or 10m.
    metrics_port
        Serve Prometheus metrics on this port of 127.0.0.1 while it runs.
    json
        Print the AgentResult as JSON on standard output.
    quiet
        No progress.
    """
    loaded = shared.settings(
        **named_agents(agent),
        agent_runtime__max_duration_minutes=timeout,
        agent_runtime__kubeconfig_path=facts.kubeconfig,
        agent_runtime__allow_write_capable_credential=facts.allow_write_capable or None,
    )
    jobs = facts.jobs(target, loaded)
    return _work(loaded, jobs, metrics_port=metrics_port, json=json, quiet=quiet)


def retry(
    incident: str,
    /,
    *,
    agent: str | None = None,
    timeout: str | None = None,
    cluster: str | None = None,
    kubeconfig: Path | None = None,
    recording: Path | None = None,
    allow_write_capable: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    shared: Shared = DEFAULT,
) -> int:
    """Make another attempt at an incident that is on record, in a workspace of its own.

    What earlier attempts left stays as it is. Exit codes are those of `investigate`.

    Parameters
    ----------
    incident
        Its id, a unique beginning of four characters or more, or @last.
    agent
        Agent to ask this time, or several; as for `investigate`.
    timeout
        Time limit of the agent, such as 90s or 10m.
    cluster
        Name of a configured cluster to read facts from, with GET requests only.
    kubeconfig
        Kubeconfig of the cluster to read facts from, with GET requests only.
    recording
        Folder or file of recorded objects, events and logs to take the facts from.
    allow_write_capable
        Accept a credential that can write; the gateway lets the agent only read with it.
    json
        Print the AgentResult as JSON on standard output.
    quiet
        No progress.
    """
    loaded = shared.settings(
        **named_agents(agent),
        agent_runtime__max_duration_minutes=timeout,
        agent_runtime__kubeconfig_path=kubeconfig,
        agent_runtime__allow_write_capable_credential=allow_write_capable or None,
    )
    return _work(
        loaded, [_another(incident, loaded, cluster, kubeconfig, recording)],
        metrics_port=None, json=json, quiet=quiet,
    )  # fmt: skip


def named_agents(names: str | None) -> dict[str, str | list[str] | None]:
    """The settings that `--agent` stands for: one agent, or several with commas between them."""
    each = [name.strip() for name in (names or "").split(",") if name.strip()]
    if len(each) < 2:
        return {"agent_runtime__agent": names, "agent_runtime__agents": [] if names else None}
    return {"agent_runtime__agents": each}


def _another(
    incident: str,
    loaded: "Loaded",
    cluster: str | None,
    kubeconfig: Path | None,
    recording: Path | None,
) -> "Job":
    import anyio

    from kubecase.app.again import job_again

    async def find() -> "Job":
        return await job_again(
            incident, loaded, cluster=cluster, kubeconfig=kubeconfig, recording=recording
        )

    return anyio.run(find)


def demo(
    recording: str = "crashloop",
    /,
    *,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Work a recorded incident from fault to report: no key, no cluster, nothing contacted.

    Parameters
    ----------
    recording
        Which recorded incident: crashloop, oomkilled, rollout-stuck, missing-secret-key or
        unschedulable-memory. All were recorded from a real cluster.
    json
        Print the AgentResult as JSON on standard output.
    """
    from kubecase.app.recordings import recording_named
    from kubecase.app.session import jobs_for

    loaded = shared.settings(agent_runtime__agent="builtin")
    folder = recording_named(recording)
    jobs = jobs_for(
        str(folder), loaded, namespace=None, cluster=None, kubeconfig=None, offline=True
    )
    return _work(loaded, jobs, metrics_port=None, json=json, quiet=False)


def _work(
    loaded: "Loaded", jobs: "Sequence[Job]", *, metrics_port: int | None, json: bool, quiet: bool
) -> int:
    import anyio

    from kubecase.app.session import Session

    for warning in loaded.warnings:
        print(f"kubecase: warning: {warning}", file=sys.stderr)
    if not quiet:
        for recognised in dict.fromkeys(job.recognised for job in jobs):
            print(f"kubecase: {recognised}", file=sys.stderr)
    with progress(quiet) as view:
        session = Session(loaded=loaded, view=view, metrics_port=metrics_port)
        outcomes = anyio.run(session.work, jobs)
    # What is over is told in full: a second Ctrl-C must not cost the result.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with reader_may_leave():
        _tell(outcomes, jobs, json=json)
    return exit_code(outcomes)


def _tell(outcomes: "Sequence[Outcome]", jobs: "Sequence[Job]", *, json: bool) -> None:
    if json:
        results = [outcome.result for outcome in outcomes]
        print(jsonlib.dumps(results[0] if len(jobs) == 1 else results, indent=2))
    else:
        from kubecase.app.show import print_outcome

        for outcome in outcomes:
            print_outcome(outcome)
    for outcome in outcomes:
        if outcome.operator_error is not None:
            tell(outcome.operator_error, sys.stderr)
    left_out = len(jobs) - len(outcomes)
    if left_out:
        print(f"kubecase: interrupted; {left_out} more faults were left out", file=sys.stderr)


def exit_code(outcomes: "Sequence[Outcome]") -> int:
    """The code for all: interrupted, else the operator's turn, else failed, else success."""
    if any(outcome.interrupted for outcome in outcomes):
        return INTERRUPTED
    if any(outcome.operator_error is not None for outcome in outcomes):
        return OPERATOR
    return SUCCESS if all(outcome.succeeded for outcome in outcomes) else AGENT_FAILED
