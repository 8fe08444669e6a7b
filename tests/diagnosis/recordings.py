"""Reads recorded cases for the tests: folders of single objects and logs, and triage cases."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubecase.core.model import Collection

DATA = Path(__file__).parent.parent / "data"
RECORDED = DATA / "k8s-failures"
TRIAGE = DATA / "triage-cases"

_LOG = re.compile(r"logs-(?:(\d+)-)?(.+)-(current|previous)\.txt")


def recorded_inputs(folder: Path) -> dict[str, Any]:
    """A recorded folder in the form of a triage case's inputs; there is no trigger."""
    objects, events, pods = [], [], {}
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("before-"):
            continue
        value = json.loads(path.read_text())
        for each in value.get("items", [value]):
            if each.get("kind") == "Event":
                events.append(each)
            elif "kind" in each:
                objects.append(each)
        if value.get("kind") == "Pod":
            pods[path.stem] = value["metadata"]
    logs = {}
    for path in sorted(folder.glob("logs-*.txt")):
        matched = _LOG.fullmatch(path.name)
        assert matched
        meta = pods.get(f"pod-{matched[1]}" if matched[1] else "pod")
        if meta is not None:
            end = "/previous" if matched[3] == "previous" else ""
            logs[f"{meta['namespace']}/{meta['name']}/{matched[2]}{end}"] = path.read_text()
    return {
        "collected_at": _latest([objects, events]).isoformat(),
        "event": {},
        "objects": objects,
        "events": events,
        "logs": logs,
    }


def _latest(value: Any) -> datetime:
    stamps = re.findall(r"\"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z\"", json.dumps(value))
    return datetime.fromisoformat(max(stamps)).replace(tzinfo=UTC)


def collection(inputs: dict[str, Any]) -> Collection:
    """The inputs of a case as the investigator takes them."""
    return Collection(
        collected_at=datetime.fromisoformat(inputs["collected_at"]).astimezone(UTC),
        trigger=inputs.get("event") or None,
        objects=tuple(inputs.get("objects") or ()),
        events=tuple(inputs.get("events") or ()),
        logs=inputs.get("logs") or {},
        origin="a recorded case",
    )
