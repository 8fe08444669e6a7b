"""Another attempt at an incident that is on record."""

from pathlib import Path

from kubecase.app import wiring
from kubecase.app.session import Job, collector_for
from kubecase.app.settings import Loaded
from kubecase.channels.sources.file import load_intake
from kubecase.channels.sources.intake import FaultInput
from kubecase.core.errors import FaultRejected, KubecaseError
from kubecase.core.lifecycle import is_final
from kubecase.core.model import Collection, Fault
from kubecase.core.ports import Silence
from kubecase.store import Story, owner_is_alive


async def job_again(
    name: str,
    loaded: Loaded,
    *,
    cluster: str | None,
    kubeconfig: Path | None,
    recording: Path | None,
) -> Job:
    """The job of one attempt more at the incident that `name` stands for.

    Facts come from the cluster that is named, from `recording`, and from what the payload of the
    fault holds itself. Raises KubecaseError when an attempt at it has not ended.
    """
    async with wiring.opened_store(loaded.settings, Silence()) as store:
        story = await store.story(await store.resolve(name))
    _require_ended(story)
    fault = story.incident.fault
    live = wiring.cluster_collector(loaded.settings, cluster, kubeconfig)
    collection = _recorded(recording, fault) if recording else facts_in_payload(fault)
    what = FaultInput(fault=fault, collection=collection)
    return Job(
        fault=what,
        collector=collector_for(what, live),
        recognised=f"attempt {story.attempts[-1].investigation.attempt + 1} at {story.incident.id}",
        cluster=live,
        incident=story.incident,
    )


def _require_ended(story: Story) -> None:
    last = story.attempts[-1]
    if is_final(last.investigation.status):
        return
    incident_id = story.incident.id
    if owner_is_alive(last.owner) is False:
        hint = "Its kubecase was killed: `kubecase recover` brings it to its end first."
    else:
        hint = f"Wait for its end, or stop it with `kubecase cancel {incident_id}`."
    raise KubecaseError(
        f"cannot retry {incident_id}: its last attempt is {last.investigation.status}", hint=hint
    )


def facts_in_payload(fault: Fault) -> Collection | None:
    """What the payload itself tells besides the fault, if it is of a form that does."""
    try:
        intake = load_intake(fault.raw, now=wiring.now(), cluster_default=fault.cluster)
    except FaultRejected:
        return None
    for each in intake.faults:
        if each.fault.fingerprint == fault.fingerprint:
            return each.collection
    return None


def _recorded(recording: Path, fault: Fault) -> Collection:
    """The facts of a recorded folder or file. Raises FaultRejected where there are none."""
    intake = load_intake(str(recording), now=wiring.now(), cluster_default=fault.cluster)
    for each in intake.faults:
        if each.collection is not None:
            return each.collection
    raise FaultRejected(
        f"{recording} holds no recorded facts",
        hint="Name a folder of recorded objects, events and logs, or a triage case.",
    )
