"""What the diagnosis is told about how an incident began."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kubecase.clusters import NothingCollector, RecordedCollector, trigger_of
from kubecase.core.model import Collection, Fault, Resource
from kubecase.core.ports import Collector
from kubecase.core.severity import Severity

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
CATALOG = {"kind": "Deployment", "name": "catalog", "namespace": "shop"}


def alert_fault() -> tuple[Fault, dict[str, Any]]:
    """An alert whose label names a Deployment, as the fault that it was taken for."""
    alert = {"labels": {"alertname": "Mismatch", "namespace": "shop", "deployment": "catalog"}}
    fault = Fault(
        fingerprint="f",
        cluster="dev",
        resource=Resource(**CATALOG),
        reason="Mismatch",
        message="too few replicas",
        severity=Severity.WARNING,
        severity_word="warning",
        seen_at=NOW,
        raw=json.dumps(alert).encode(),
    )
    return fault, alert


@pytest.mark.anyio
@pytest.mark.parametrize(
    "collector",
    [
        NothingCollector(clock=lambda: NOW),
        RecordedCollector(Collection(collected_at=NOW, trigger=None)),
    ],
    ids=["nothing", "an empty recording"],
)
async def test_an_alert_reaches_the_diagnosis_with_its_object(collector: Collector) -> None:
    """What an alert was taken to be about is handed over beside its own words."""
    fault, alert = alert_fault()

    found = await collector.collect(fault)

    assert found.trigger == {"kind": "Alert", **alert, "resource": CATALOG}


def test_the_trigger_itself_stays_as_it_came() -> None:
    """The alert as such is not added to."""
    fault, alert = alert_fault()

    assert trigger_of(fault) == {"kind": "Alert", **alert}
