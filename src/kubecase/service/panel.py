"""Several agents on one incident: side by side, or one after the other as a second opinion.

Each works in a workspace of its own and sees nothing of the others, except that a second opinion
is told what the first one found. What comes of it is one report with all opinions. An agent that
fails takes nothing from the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from kubecase.core.fencing import visible
from kubecase.core.lifecycle import is_final
from kubecase.core.model import Incident, IncidentState, Investigation, Status
from kubecase.core.ports import Stop
from kubecase.service.attempts import Attempts
from kubecase.service.case import NOTHING_BEFORE, Before
from kubecase.service.conclude import Concluded
from kubecase.service.investigate import Investigator
from kubecase.service.report.opinions import Opinion
from kubecase.store import Store

Order = Literal["parallel", "second_opinion"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The `members`, each with its own retries; `otherwise` is asked when all of them failed."""

    members: Sequence[Attempts]
    order: Order
    store: Store
    otherwise: Attempts | None = None

    async def work(
        self,
        incident: Incident,
        stop: Stop,
        *,
        again: bool = False,
        before: Before = NOTHING_BEFORE,
    ) -> Concluded:
        """The conclusion of the first member that succeeded, with what the others found.

        Raises what `Investigator.investigate` raises; the members that are left are then ended.
        """
        begun: Sequence[Investigation] = ()
        if self.order == "parallel":
            begun = await self._begun(incident, again=again, slot=before.slot)
        try:
            if begun:
                all_of_them = await self._side_by_side(incident, stop, begun)
            else:
                all_of_them = await self._in_turn(incident, stop, again=again, slot=before.slot)
            if self.otherwise is not None and not stop.is_set() and not _succeeded(all_of_them):
                last = await self.otherwise.work(incident, stop, again=True, keep_open=True)
                all_of_them = [last, *all_of_them]
            return await together(all_of_them)
        finally:
            with anyio.CancelScope(shield=True):
                await self._close(incident)

    async def _begun(
        self, incident: Incident, *, again: bool, slot: int | None
    ) -> list[Investigation]:
        """An attempt for each member, on record; all of them share the slot of the first."""
        begun: list[Investigation] = []
        for member in self.members:
            first = member.chain[0]
            begun.append(await _begin(first, incident, again=again, slot=slot))
            again, slot = True, None
        return begun

    async def _side_by_side(
        self, incident: Incident, stop: Stop, begun: Sequence[Investigation]
    ) -> list[Concluded]:
        done: dict[int, Concluded] = {}

        async def one(number: int, member: Attempts) -> None:
            done[number] = await member.work(
                incident, stop, again=True, before=Before(begun=begun[number]), keep_open=True
            )

        async with anyio.create_task_group() as group:
            for number, member in enumerate(self.members):
                group.start_soon(one, number, member)
        return [done[number] for number in sorted(done)]

    async def _in_turn(
        self, incident: Incident, stop: Stop, *, again: bool, slot: int | None
    ) -> list[Concluded]:
        done: list[Concluded] = []
        for member in self.members:
            if done and stop.is_set():
                break
            before = Before(
                slot=slot,
                notes=[_told_before(each) for each in done],
                opinions=[_opinion_text(each) for each in done],
            )
            done.append(
                await member.work(
                    incident, stop, again=again or bool(done), before=before, keep_open=True
                )
            )
        return done

    async def _close(self, incident: Incident) -> None:
        """The incident was kept open while one after the other ended."""
        story = await self.store.story(incident.id)
        if story.incident.state is IncidentState.ACTIVE and all(
            is_final(each.investigation.status) for each in story.attempts
        ):
            await self.store.settle(incident.id, IncidentState.DONE)


async def together(concluded: Sequence[Concluded]) -> Concluded:
    """The first that succeeded and names a cause, else the first that succeeded, else the first;
    with the others as opinions in its report.
    """
    best = max(concluded, key=_worth)
    others = [each for each in concluded if each is not best]
    if not others or best.conclusion is None:
        return best
    return await best.conclusion.with_opinions(best, [_opinion(each) for each in others])


def _worth(concluded: Concluded) -> int:
    answer = concluded.machine.get("report") or {}
    return 2 * concluded.succeeded + bool(concluded.succeeded and answer.get("hypotheses"))


def _succeeded(concluded: Sequence[Concluded]) -> bool:
    return any(each.succeeded for each in concluded)


async def _begin(
    investigator: Investigator, incident: Incident, *, again: bool, slot: int | None
) -> Investigation:
    if again:
        return await investigator.store.begin_attempt(
            incident.id, investigator.agent_name, slot=slot
        )
    return await investigator.store.begin(incident, agent=investigator.agent_name)


def _opinion(concluded: Concluded) -> Opinion:
    report = concluded.reports.get("md")
    return Opinion(
        investigation=concluded.investigation,
        answer=concluded.machine.get("report"),
        report=None if report is None else str(report),
    )


def _told_before(concluded: Concluded) -> str:
    done = concluded.investigation
    if done.status is Status.SUCCESS:
        return f"this is a second opinion: the agent was told what {done.agent} had found"
    return f"this is a second opinion, but {done.agent} left none: {done.status}"


def _opinion_text(concluded: Concluded) -> str:
    """What the next agent is told of this one: its conclusion, as data."""
    done, answer = concluded.investigation, concluded.machine.get("report")
    if not answer:
        return f"The agent {done.agent} ended with {done.status} and left no conclusion."
    lines = [f"The agent {done.agent} ended with {done.status} and concluded:"]
    lines.append(visible(str(answer.get("summary") or "")))
    lines += [_hypothesis_text(each) for each in list(answer.get("hypotheses") or ())[:3]]
    return "\n".join(lines)


def _hypothesis_text(each: Mapping[str, Any]) -> str:
    culprit = each.get("culprit") or {}
    blamed = f", culprit {culprit.get('kind')}/{culprit.get('name')}" if culprit else ""
    return visible(f"- {each.get('category')}: {each.get('root_cause')}{blamed}")
