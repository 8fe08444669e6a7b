"""What a credential may do decides whether an agent is asked, and stands in the report."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubecase.clusters.preflight import write_capable
from kubecase.core.errors import KubecaseError
from kubecase.core.model import Fault, Investigation, Status
from kubecase.core.permissions import Permissions
from kubecase.service.case import Case
from kubecase.service.preflight import Preflight

from .workshop import an_incident

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def a_case() -> Case:
    incident = an_incident()
    attempt = Investigation(
        incident_id=incident.id, attempt=1, agent="command", status=Status.CREATED, created_at=NOW
    )
    return Case(incident=incident, attempt=attempt, run_dir=Path("/nowhere"))


def preflight(*, writes: bool, refuses: bool, served: bool, unproven: str | None) -> Preflight:
    async def ask(_fault: Fault) -> Permissions:
        return Permissions(
            cluster="dev", at=NOW, answers={}, can_write=("patch",) if writes else (),
            unproven=unproven,
        )  # fmt: skip

    return Preflight(ask=ask, refusal=write_capable if refuses else None, served=served)


@pytest.mark.parametrize(
    ("writes", "unproven", "refuses", "served", "note"),
    [
        (False, None, True, True, None),
        (False, "no answer within 10 s", True, True, "not found out (no answer within 10 s); the"),
        (False, "500", False, False, "not found out (500); kubecase only reads"),
        (True, "500", False, True, "can write (patch); the gateway let only reading through"),
    ],
)
async def test_what_is_too_much_or_not_known_stands_in_the_report(
    writes: bool, unproven: str | None, refuses: bool, served: bool, note: str | None
) -> None:
    """The agent is asked, and the report says what is behind the gateway (req 13.3)."""
    case = a_case()

    await preflight(writes=writes, unproven=unproven, refuses=refuses, served=served).check(case)

    assert len(case.notes) == (note is not None)
    assert note is None or note in case.notes[0]


@pytest.mark.parametrize("served", [False, True])
async def test_a_credential_that_can_write_is_refused_behind_the_gateway_too(served: bool) -> None:
    """With read_only_mode on, an agent is never asked with one (req 13.3)."""
    with pytest.raises(KubecaseError, match=r"can write \(patch\)"):
        await preflight(writes=True, unproven="500", refuses=True, served=served).check(a_case())


async def test_what_is_not_known_is_refused_where_no_gateway_stands_between() -> None:
    """Without a gateway an agent is asked only with a credential that is proved to read."""
    with pytest.raises(KubecaseError, match="it is not known") as refused:
        await preflight(writes=False, unproven="500", refuses=True, served=False).check(a_case())

    assert "no answer" not in str(refused.value)
    assert "(500)" in str(refused.value)
    assert "--allow-write-capable" in str(refused.value.hint)
