"""The record: every write and every question goes through `Store`."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, Unpack

from sqlalchemy.ext.asyncio import AsyncConnection

from kubecase.core.errors import IllegalTransition
from kubecase.core.lifecycle import is_final, may_follow
from kubecase.core.model import Incident, IncidentId, IncidentState, Investigation, Status
from kubecase.core.ports import Observer, Silence
from kubecase.store import ends as last_ends
from kubecase.store import location, migrate, reading, rows, searching, writing
from kubecase.store.database import Database, opened
from kubecase.store.deliveries import Addressed, Deliveries, put
from kubecase.store.desk import Desk
from kubecase.store.owner import Owner, owner_is_alive
from kubecase.store.schema import OpenedBy
from kubecase.store.values import Attempt, CancelOutcome, Changes, Row, Story, duration

Clock = Callable[[], datetime]

_OF_AN_END = frozenset(
    {"reason", "error", "exit", "usage", "artifacts", "rejected", "ended_at"}
)  # fmt: skip


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


class Store:
    """What is known, durable before it is acknowledged. Use `Store.open` to get one.

    Safe for any number of tasks of one process and of processes on one record. Every method
    raises StoreUnavailable when the record cannot be read or written. A method that was cancelled
    has finished its transaction all the same.
    """

    def __init__(
        self, database: Database, *, owner: Owner, observer: Observer, clock: Clock
    ) -> None:
        self._database = database
        self._owner = owner
        self._observer = observer
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        where: str | Path,
        *,
        owner: Owner,
        observer: Observer | None = None,
        clock: Clock = utc_now,
    ) -> AsyncIterator[Self]:
        """The record at `where` (a path or an address), created or brought up to date if need be.

        `owner` is written on every attempt that is begun through it. Raises StoreUnavailable.
        """
        url = location.parse(where)
        file = location.file_of(url)
        if file is not None:
            location.prepare(file)
        async with opened(url) as database:
            await migrate.ensure_current(database, url)
            yield cls(database, owner=owner, observer=observer or Silence(), clock=clock)

    @property
    def desk(self) -> Desk:
        """The record as the service uses it."""
        return Desk(database=self._database, clock=self._clock)

    @property
    def deliveries(self) -> Deliveries:
        """The messages that are to reach people."""
        return Deliveries(database=self._database, clock=self._clock)

    async def begin(
        self,
        incident: Incident,
        *,
        agent: str,
        opened_by: OpenedBy | Literal["hand", "service"] = OpenedBy.HAND,
        slot: int | None = None,
    ) -> Investigation:
        """Attempt 1 at a new incident, `created`; fault, incident and attempt are then durable.

        Raises IncidentExists if the id is on record, SlotTaken if another attempt holds the slot
        of that cluster, and for the service AlreadyOpen if it has an open incident with that
        cluster and fingerprint; FaultRejected if the payload is over the cap.
        """
        first = self._newcomer(agent, slot)
        by = OpenedBy(opened_by)
        row = await self._database.write(
            lambda connection: writing.open_incident(connection, incident, by, first)
        )
        return rows.investigation_of(row)

    async def begin_attempt(
        self, incident_id: IncidentId, agent: str, *, slot: int | None = None
    ) -> Investigation:
        """One attempt more at a known incident, `created`, numbered after the last.

        Raises IncidentUnknown, SlotTaken or AlreadyOpen.
        """
        newcomer = self._newcomer(agent, slot)
        row = await self._database.write(
            lambda connection: writing.add_attempt(connection, incident_id, newcomer)
        )
        return rows.investigation_of(row)

    async def move(
        self,
        investigation: Investigation,
        to: Status,
        *,
        detail: str | None = None,
        keep_open: bool = False,
        findings: Mapping[str, Any] | None = None,
        messages: Sequence[Addressed] = (),
        **changes: Unpack[Changes],
    ) -> Investigation:
        """`investigation` after it went to `to`; row and transition are then durable.

        The one place where a status changes and where that is announced, as `state_changed`,
        exactly once. An end also sets the incident to done, unless another attempt at it has not
        ended or `keep_open` says that one follows. `detail` is for the record of transitions; if
        left out it is the error. `findings` are kept with it, for whoever may have to conclude;
        `messages` are put into the outbox with it.

        Raises IllegalTransition if the table of transitions does not have it or another one moved
        the investigation meanwhile; CancelRequested instead of going to starting or running when
        a cancel was asked for; TakenOver if another process owns it by now; IncidentUnknown if it
        was forgotten. Nothing is changed then.
        """
        _check(investigation, to, changes)
        now = self._clock()
        columns = _stamped(rows.changes_row(changes), to, now)

        async def change(connection: AsyncConnection) -> Attempt:
            row = await writing.change_status(
                connection,
                investigation,
                to,
                owner=self._owner,
                columns=columns,
                at=now,
                detail=detail or changes.get("error"),
                keep_open=keep_open,
            )
            if findings is not None:
                values = self._report(None, findings)
                await writing.keep_report(connection, investigation, values, self._owner)
            await put(connection, messages, now)
            return rows.attempt_of(row)

        def announce(moved: Attempt) -> None:
            self._announce(investigation.status, moved)

        return (await self._database.write(change, announce)).investigation

    async def request_cancel(
        self, incident_id: IncidentId, attempt: int | None = None
    ) -> CancelOutcome:
        """Ask for the end of an attempt, of the latest if none is named. Raises IncidentUnknown.

        Asking again changes nothing. The status is moved by whoever runs the attempt.
        """
        now = self._clock()
        return await self._database.write(
            lambda connection: writing.ask_to_cancel(connection, incident_id, attempt, now)
        )

    async def settle(self, incident_id: IncidentId, state: IncidentState) -> None:
        """Set where an incident stands, for those whose attempts do not say. IncidentUnknown."""
        await self._database.write(
            lambda connection: writing.settle(connection, incident_id, state)
        )

    async def save_report(
        self,
        investigation: Investigation,
        report: Mapping[str, Any] | None,
        findings: Mapping[str, Any] | None,
    ) -> None:
        """Keep the machine form of a conclusion and of the built-in findings beside it.

        Saving again replaces. Raises IncidentUnknown, and TakenOver if another process owns it.
        """
        values = self._report(report, findings)
        await self._database.write(
            lambda connection: writing.keep_report(connection, investigation, values, self._owner)
        )

    def _report(
        self, report: Mapping[str, Any] | None, findings: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "report": report,
            "findings": findings,
            "headline": rows.headline_of(report, findings),
            "saved_at": self._clock(),
        }

    async def forget(self, incident_id: IncidentId) -> None:
        """Delete an incident, its fault, attempts, transitions, reports and deliveries.

        Raises IncidentBusy while an attempt has not ended, IncidentUnknown if there is none.
        """
        await self._database.write(lambda connection: writing.forget(connection, incident_id))

    async def status(self, incident_id: IncidentId, attempt: int | None = None) -> Investigation:
        """One attempt as it stands, the latest if none is named. Raises IncidentUnknown."""
        return (await self.attempt(incident_id, attempt)).investigation

    async def attempt(self, incident_id: IncidentId, attempt: int | None = None) -> Attempt:
        """Like `status`, with cluster, owner, run directory and a wish to cancel."""
        row = await self._database.read(
            lambda connection: reading.row_of(connection, incident_id, attempt)
        )
        return rows.attempt_of(row)

    async def list_investigations(
        self,
        limit: int,
        status: Status | None = None,
        *,
        cluster: str | None = None,
        namespace: str | None = None,
    ) -> tuple[Row, ...]:
        """At most `limit` investigations, newest first, of that status, cluster and namespace."""
        return await self._database.read(
            lambda connection: reading.listed(
                connection, limit=limit, status=status, cluster=cluster, namespace=namespace
            )
        )

    async def search(self, search: searching.Search) -> tuple[searching.Found, ...]:
        """The incidents that fit `search`, newest first."""
        return await self._database.read(lambda c: searching.searched(c, search))

    async def progress(
        self, incident_id: IncidentId, *, after: int = 0, limit: int = 100
    ) -> searching.Progress:
        """How far an incident is; decisions after the one numbered `after`. IncidentUnknown."""
        return await self._database.read(
            lambda c: searching.progressed(c, incident_id, after=after, limit=limit)
        )

    async def story(self, incident_id: IncidentId) -> Story:
        """All that is on record about one incident. Raises IncidentUnknown."""
        return await self._database.read(lambda connection: reading.told(connection, incident_id))

    async def resolve(self, prefix: str) -> IncidentId:
        """The incident whose id begins with `prefix` (four characters or more), or `@last`.

        Raises IncidentUnknown, which names up to five candidates when there are several.
        """
        return await self._database.read(lambda connection: reading.resolved(connection, prefix))

    async def finished_before(self, moment: datetime) -> tuple[Investigation, ...]:
        """The investigations that ended before `moment`, in the order they ended."""
        return await self._database.read(
            lambda connection: reading.ended_before(connection, moment)
        )

    async def ends(
        self, attempts: Collection[tuple[IncidentId, int]]
    ) -> Mapping[tuple[IncidentId, int], reading.End]:
        """Where each of `attempts` (at most some hundred) stands; the unknown are left out."""
        return await self._database.read(lambda connection: reading.ends(connection, attempts))

    async def agent_ends(self, agent: str, *, limit: int) -> tuple[last_ends.AgentEnd, ...]:
        """The last ends that speak for or against `agent`, the latest first."""
        return await self._database.read(
            lambda connection: last_ends.agent_ends(connection, agent, limit)
        )

    async def begun_since(self, agent: str, moment: datetime) -> int:
        """How many investigations of `agent` began after `moment` and have not ended."""
        return await self._database.read(
            lambda connection: last_ends.begun_since(connection, agent, moment)
        )

    async def by_workspace(self) -> Mapping[Path, Investigation]:
        """Every investigation that has a workspace, by its path: how, and when, it ended."""
        return await self._database.read(reading.by_workspace)

    async def take_over(self, orphan: Attempt, *, lease_is_over: bool = False) -> Attempt | None:
        """Own `orphan`, whose owner is proved dead, from now on; None if another was faster.

        With `lease_is_over` that is taken for a proof where there can be none, as for another host.
        Raises ValueError for an attempt whose owner may be alive: that one is not to be touched.
        """
        alive = owner_is_alive(orphan.owner)
        if alive or (alive is None and not lease_is_over):
            raise ValueError(f"the owner of {orphan.investigation.key} may be alive")
        row = await self._database.write(
            lambda connection: writing.take_over(connection, orphan, self._owner)
        )
        return None if row is None else rows.attempt_of(row)

    async def orphans(self) -> tuple[Attempt, ...]:
        """The attempts of this host that have not ended and whose owner is proved dead."""
        unfinished = await self.owners_of_unfinished()
        return tuple(each for each in unfinished if owner_is_alive(each.owner) is False)

    async def owners_of_unfinished(self) -> tuple[Attempt, ...]:
        """The attempts that have not ended, oldest first, with their owners. Adopts nothing."""
        return await self._database.read(reading.unfinished)

    def _newcomer(self, agent: str, slot: int | None) -> writing.Newcomer:
        return writing.Newcomer(agent=agent, owner=self._owner, slot=slot, at=self._clock())

    def _announce(self, before: Status, attempt: Attempt) -> None:
        after = attempt.investigation
        fields: dict[str, object] = {
            "from": before,
            "to": after.status,
            "incident_id": after.incident_id,
            "cluster": attempt.cluster,
            "attempt": after.attempt,
            "agent": after.agent,
        }
        if after.ended_at is not None:
            fields["duration"] = duration(after, after.ended_at)
        self._observer.record("state_changed", **fields)


def _stamped(columns: dict[str, Any], to: Status, now: datetime) -> dict[str, Any]:
    """`columns` with the moment of the move where that is the start or the end."""
    name = "started_at" if to is Status.RUNNING else "ended_at" if is_final(to) else None
    return columns if name is None else {name: now, **columns}


def _check(before: Investigation, to: Status, changes: Changes) -> None:
    """Refuse what can be refused without looking at the record."""
    if not may_follow(before.status, to):
        raise IllegalTransition(
            f"cannot move investigation {before.key} from {before.status} to {to}",
            hint="This is a bug in whoever asked for it.",
        )
    if unknown := changes.keys() - Changes.__annotations__.keys():
        raise TypeError(f"a move does not write {', '.join(sorted(unknown))}")
    if not is_final(to) and (early := changes.keys() & _OF_AN_END):
        raise ValueError(f"{', '.join(sorted(early))} belong to an end, not to {to}")
    if (to is Status.FAILED) != (changes.get("reason") is not None):
        raise ValueError("exactly a failed investigation has a reason")
