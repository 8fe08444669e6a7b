"""Which objects a namespace, a label selector and a field selector choose."""

import re
from collections.abc import Mapping
from typing import Any


def is_in(each: Mapping[str, Any], namespace: str | None, query: Mapping[str, str]) -> bool:
    """Whether an object lies in `namespace` (any, if None) and fits the selectors of `query`."""
    return (
        namespace in (None, each["metadata"].get("namespace"))
        and _fits_labels(each, query.get("labelSelector", ""))
        and _fits_fields(each, query.get("fieldSelector", ""))
    )


def _fits_labels(each: Mapping[str, Any], selector: str) -> bool:
    labels = each["metadata"].get("labels") or {}
    for part in re.findall(r"[^,(]+\([^)]*\)|[^,]+", selector):
        if listed := re.fullmatch(r"\s*(\S+) (in|notin) \(([^)]*)\)\s*", part):
            values = {value.strip() for value in listed[3].split(",")}
            if (labels.get(listed[1]) in values) != (listed[2] == "in"):
                return False
        elif "!=" in part:
            key, _, value = part.partition("!=")
            if labels.get(key.strip()) == value.strip():
                return False
        elif "=" in part:
            key, _, value = part.replace("==", "=").partition("=")
            if labels.get(key.strip()) != value.strip():
                return False
        elif part.startswith("!"):
            if part[1:] in labels:
                return False
        elif part not in labels:
            return False
    return True


def _fits_fields(each: Mapping[str, Any], selector: str) -> bool:
    for part in filter(None, selector.split(",")):
        path, _, value = part.replace("==", "=").partition("=")
        found: Any = each
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if (found or "") != value:
            return False
    return True
