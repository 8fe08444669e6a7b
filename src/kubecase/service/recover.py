"""Taking over investigations whose kubecase was killed: none is lost, run twice, or left behind."""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

from kubecase.core.ports import Stop
from kubecase.service.conclude import Concluded
from kubecase.service.investigate import Investigator
from kubecase.store import Attempt, Store


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Concludes what others have left, with the investigator that `made` gives for an attempt."""

    store: Store
    made: Callable[[Attempt], Investigator]

    async def orphans(self, incidents: Collection[str] = ()) -> tuple[Attempt, ...]:
        """The unfinished attempts of this host whose owner is proved dead; of these incidents only,
        if any are named. Changes nothing.
        """
        found = await self.store.orphans()
        return tuple(
            each for each in found if not incidents or each.investigation.incident_id in incidents
        )

    async def conclude(
        self, orphan: Attempt, stop: Stop, *, lease_is_over: bool = False
    ) -> Concluded | None:
        """Own `orphan` and bring it to its end; None if another process was faster.

        An agent that still runs is followed as long as it takes, or until `stop`. With
        `lease_is_over` it may be of another host, of which nothing can be proved from here.
        """
        owned = await self.store.take_over(orphan, lease_is_over=lease_is_over)
        if owned is None:
            return None
        story = await self.store.story(owned.investigation.incident_id)
        return await self.made(owned).resume(owned, story, stop)

    async def conclude_all(self, stop: Stop) -> AsyncIterator[Concluded]:
        """Conclude every orphan, one after the other, oldest first."""
        for orphan in await self.orphans():
            concluded = await self.conclude(orphan, stop)
            if concluded is not None:
                yield concluded
