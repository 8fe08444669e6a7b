"""What works one incident of the service: its agents, its cluster, and what others have left."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kubecase.app import wiring
from kubecase.app.again import facts_in_payload
from kubecase.app.asking import Asking, who_is_asked
from kubecase.app.session import collector_for
from kubecase.app.settings import Loaded
from kubecase.channels.sources.intake import FaultInput
from kubecase.core.errors import KubecaseError
from kubecase.core.lifecycle import is_final
from kubecase.core.model import Incident, Reason, Status
from kubecase.core.ports import Observer, Stop
from kubecase.service import Attempts, Panel
from kubecase.service.dispatch import Left
from kubecase.service.giving_up import give_up
from kubecase.store import Attempt, Store, owner_is_alive

if TYPE_CHECKING:
    from kubecase.clusters import ClusterCollector


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Makes what works an incident, by the settings that are in force at that moment."""

    loaded: Callable[[], Loaded]
    store: Store
    observer: Observer
    alone: bool = True

    def made(self, incident: Incident) -> Attempts | Panel:
        """What works `incident`. Raises KubecaseError for settings that cannot work."""
        loaded = self._for(incident.fault.cluster)
        fault = incident.fault
        reached = self.reached(fault.cluster)
        what = FaultInput(fault=fault, collection=facts_in_payload(fault))
        asked = who_is_asked(loaded.settings)
        self.observer.record(
            "case_opened",
            incident_id=incident.id,
            cluster=fault.cluster,
            what=f"{fault.reason} of {fault.resource}",
            agent=asked.in_words(),
            several=bool(asked.several),
        )
        asking = Asking(loaded=loaded, store=self.store, observer=self.observer)
        return asking.about(asked, collector_for(what, reached), reached)

    def reached(self, cluster: str) -> "ClusterCollector | None":
        """What reads `cluster`; None for one that is not configured or cannot be reached."""
        settings = self.loaded().settings
        if cluster not in settings.clusters:
            return None
        try:
            return wiring.cluster_collector(settings, cluster, None)
        except KubecaseError as error:
            self.observer.record("error", cluster=cluster, error_type="context", error=error)
            return None

    def _for(self, cluster: str) -> Loaded:
        """The settings as this cluster has them."""
        loaded = self.loaded()
        own = loaded.settings.clusters.get(cluster)
        if own is None or own.agent is None:
            return loaded
        runtime = replace(loaded.settings.agent_runtime, agent=own.agent, agents=())
        return replace(loaded, settings=replace(loaded.settings, agent_runtime=runtime))

    async def healed(self, incident: Incident) -> str | None:
        """Why `incident` needs no work any more, as far as its cluster says so plainly."""
        reached = self.reached(incident.fault.cluster)
        if reached is None:
            return None
        from kubecase.clusters.healing import healed

        return await healed(reached.credentials, incident.fault, wiring.now())

    async def give_up(self, incident: Incident, why: str) -> None:
        """Conclude one that nobody can work."""
        choice = wiring.named_choice(wiring.BUILTIN, self.loaded().settings, "nobody else may")
        investigator = wiring.investigator(
            self.loaded().settings, choice=choice, store=self.store,
            collector=collector_for(FaultInput(fault=incident.fault), None),
            observer=self.observer,
        )  # fmt: skip
        await give_up(investigator, incident, why)

    async def left(self, incident: Incident, stop: Stop) -> Left:
        """What became of attempts that other processes began: those of dead ones are concluded."""
        story = await self.store.story(incident.id)
        found = Left.NOTHING
        for attempt in story.attempts:
            if is_final(attempt.investigation.status):
                continue
            concluded = await self._of_another(attempt, stop)
            if concluded is Left.AT_WORK:
                return Left.AT_WORK
            found = concluded if concluded is Left.CONCLUDED else found
        return found

    async def _of_another(self, attempt: Attempt, stop: Stop) -> Left:
        alive = owner_is_alive(attempt.owner)
        if alive or (alive is None and self.alone):
            return Left.AT_WORK
        recovery = wiring.recovery(self.loaded().settings, self.store, self.observer)
        # The queue gave it to us: the lease of whoever had it has run out.
        concluded = await recovery.conclude(attempt, stop, lease_is_over=alive is None)
        if concluded is None:
            return Left.AT_WORK
        done = concluded.investigation
        lost = done.status is Status.FAILED and done.reason is Reason.LOST
        return Left.NOTHING if lost else Left.CONCLUDED
