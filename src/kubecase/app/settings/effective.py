"""What is in force, row by row, with where it came from and without any secret."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubecase.app.settings import names
from kubecase.app.settings.keys import choose
from kubecase.app.settings.units import format_duration, format_size
from kubecase.app.settings.values import (
    ContainerSettings,
    LimitsSettings,
    Loaded,
    Skill,
)
from kubecase.app.settings.web_values import WebSettings

NOT_SET = "not set"

_DURATIONS = {
    "workspace_retention_hours": "workspace_retention_seconds",
    "max_duration_minutes": "max_duration_seconds",
    "graceful_shutdown_seconds": "graceful_shutdown_seconds",
    "idle_timeout": "idle_timeout_seconds",
    "retry_delay": "retry_delay_seconds",
    "breaker_cooldown": "breaker_cooldown_seconds",
    "gc_interval": "gc_interval_seconds",
}
_SIZES = {
    "max_output": "max_output_bytes",
    "max_disk": "max_disk_bytes",
    "min_free_space": "min_free_bytes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One option: its dotted key, its value for people, and where that came from."""

    key: str
    value: str
    origin: str


def effective(loaded: Loaded) -> tuple[Row, ...]:
    """Every option that is in force, in the order of the reference page.

    Options below `agents` and `clusters` are there for the names that were configured. A secret
    is shown as `set (from ...)`.
    """
    rows = []
    for key, value in _values(loaded):
        rows.append(Row(key=key, value=value, origin=str(loaded.origin(key))))
    return tuple(rows)


def _values(loaded: Loaded) -> Iterator[tuple[str, str]]:
    from kubecase.app.settings.agent_runtime import AgentRuntimeSection
    from kubecase.app.settings.container import ContainerSection
    from kubecase.app.settings.model import (
        AgentSection,
        BudgetSection,
        ClusterSection,
        ModelSection,
    )
    from kubecase.app.settings.service import LimitsSection, SourceSection
    from kubecase.app.settings.sinks import SinkSection
    from kubecase.app.settings.web import WebSection

    settings = loaded.settings
    for key in AgentRuntimeSection.model_fields:
        yield f"agent_runtime.{key}", _runtime_value(loaded, key)
    for section, model in (
        ("agents", AgentSection), ("clusters", ClusterSection), ("models", ModelSection),
        ("budgets", BudgetSection), ("sources", SourceSection), ("sinks", SinkSection),
    ):  # fmt: skip
        for name, options in getattr(settings, section).items():
            for key in model.model_fields:
                if (section, key) == ("sinks", "url"):
                    given = f"sinks.{name}.url" in loaded.origins
                    yield f"sinks.{name}.url", "set" if given else NOT_SET
                elif (section, key) == ("clusters", "max_answers"):
                    yield f"{section}.{name}.{key}", format_size(options.max_answers)
                else:
                    yield f"{section}.{name}.{key}", _text(getattr(options, key))
    for key in ContainerSection.model_fields:
        yield f"container.{key}", _container_value(settings.container, key)
    for key in LimitsSection.model_fields:
        yield f"limits.{key}", _limit_value(settings.limits, key)
    for key in WebSection.model_fields:
        yield f"web.{key}", _web_value(settings.web, key)
    url = settings.store.url
    yield "store.url", NOT_SET if url is None else re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
    yield "store.data_dir", str(settings.store.data_dir)


def _limit_value(limits: LimitsSettings, key: str) -> str:
    value = getattr(limits, key)
    if key == "silences":
        return "[" + ", ".join(each.reason for each in value) + "]"
    if value is None:
        return "off"
    return format_duration(value) if isinstance(value, float) else _text(value)


def _web_value(web: WebSettings, key: str) -> str:
    match key:
        case "listen":
            return web.listen
        case "tokens":
            return "[" + ", ".join(each.name for each in web.tokens) + "]"
        case "max_body":
            return format_size(web.max_body)
    value = getattr(web, key)
    return format_duration(value) if isinstance(value, float) else _text(value)


def _container_value(container: ContainerSettings, key: str) -> str:
    value = getattr(container, key)
    if key in {"memory", "tmp"}:
        return format_size(value)
    return format_duration(value) if key == "stop_timeout" else _text(value)


def _runtime_value(loaded: Loaded, key: str) -> str:
    runtime = loaded.settings.agent_runtime
    if key in names.model_keys():
        return _key_value(loaded, key)
    if key.removesuffix("_file") in names.model_keys():
        origin = loaded.origins.get(f"agent_runtime.{key}")
        return "set" if origin is not None else NOT_SET
    if key in _DURATIONS:
        seconds = getattr(runtime, _DURATIONS[key])
        return "off" if seconds is None else format_duration(seconds)
    if key in _SIZES:
        size = getattr(runtime, _SIZES[key])
        return "off" if size is None else format_size(size)
    return _text(getattr(runtime, key))


def _key_value(loaded: Loaded, key: str) -> str:
    chosen = choose(f"agent_runtime.{key}", loaded.origins)
    if chosen is None or names.model_keys()[key] not in loaded.settings.model_keys:
        return NOT_SET
    return f"set (from {_source(loaded, chosen)})"


def _source(loaded: Loaded, chosen: str) -> str:
    detail = loaded.origin(chosen).detail
    return f"{chosen} of {detail}" if chosen.endswith("_file") else detail


def _text(value: Any) -> str:
    if value is None:
        return NOT_SET
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_text(each) for each in value) + "]"
    if isinstance(value, Skill):
        return value.name if value.enabled else f"{value.name} (off)"
    return str(value)
