"""What is known, on record: the only room that speaks SQL.

Here belong the tables and their migrations, where the record may lie, every transaction, the one
place in which a status changes and is announced, and the identity of a process that owns an
attempt. Never here: deciding what should happen to an incident, starting or stopping anything, a
file other than the record and its lock, and any SQL for another room to run.
"""

from kubecase.store.deliveries import Addressed, Deliveries, Delivery
from kubecase.store.migrate import downgrade
from kubecase.store.owner import Owner, owner_is_alive
from kubecase.store.reading import End
from kubecase.store.schema import DeliveryState, OpenedBy
from kubecase.store.store import Store, utc_now
from kubecase.store.values import (
    AlreadyOpen,
    Attempt,
    CancelOutcome,
    CancelRequested,
    Changes,
    IncidentBusy,
    Row,
    SavedReport,
    SlotTaken,
    Story,
    TakenOver,
    Transition,
    duration,
)

__all__ = [
    "Addressed",
    "AlreadyOpen",
    "Attempt",
    "CancelOutcome",
    "CancelRequested",
    "Changes",
    "Deliveries",
    "Delivery",
    "DeliveryState",
    "End",
    "IncidentBusy",
    "OpenedBy",
    "Owner",
    "Row",
    "SavedReport",
    "SlotTaken",
    "Store",
    "Story",
    "TakenOver",
    "Transition",
    "downgrade",
    "duration",
    "owner_is_alive",
    "utc_now",
]
