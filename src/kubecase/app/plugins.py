"""Finds implementations by their entry-point names; what is built in registers the same way."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kubecase.core.errors import AgentUnavailable, KubecaseError, SettingsInvalid
from kubecase.core.ports import Agent, Runtime, Sink

TEST_AGENT = "scripted"
"""The shipped fake: it can be named, but nobody is led to it."""


def names(group: str) -> tuple[str, ...]:
    """The names registered in `kubecase.<group>`, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=f"kubecase.{group}")}))


def agent(name: str, options: Any) -> Agent:
    """The adapter registered as `name`, configured; raises AgentUnavailable with the remedy."""
    kind = _load("agents", name)
    made: Agent = kind.configured(options)
    return made


def reader(name: str) -> Agent | None:
    """The adapter registered as `name` with nothing configured: enough to read what its CLI has
    printed. None if it cannot be made so.
    """
    try:
        made: Agent = _load("agents", name)()
    except (TypeError, KubecaseError):
        return None
    return made


def runtime(name: str, options: Any) -> Runtime:
    """The runtime registered as `name`, made from a `runtime.registry.RuntimeOptions`."""
    made: Runtime = _load("runtimes", name)(options)
    return made


def sink(kind: str, name: str, options: Any) -> Sink:
    """The sink registered as `kind`, made for the entry `name` of the settings."""
    try:
        made: Sink = _load("sinks", kind).configured(options)
    except SettingsInvalid as error:
        raise SettingsInvalid(f"cannot use sinks.{name}: {error}", hint=error.hint) from error
    return made


def _load(group: str, name: str) -> Any:
    point = _find(group, name)
    try:
        return point.load()
    except ImportError as error:
        raise KubecaseError(
            f"cannot load {group} plug-in {name!r} ({point.value}): {error}",
            hint="Reinstall the package that provides it, or choose another.",
        ) from error


def _find(group: str, name: str) -> EntryPoint:
    for point in entry_points(group=f"kubecase.{group}"):
        if point.name == name:
            return point
    if group == "agents":
        raise unknown_agent(name)
    known = ", ".join(names(group))
    raise SettingsInvalid(f"no {group} plug-in is called {name!r}", hint=f"Installed are: {known}.")


def unknown_agent(name: str) -> AgentUnavailable:
    """The error for an agent of which no adapter is installed."""
    known = ", ".join(("auto", "builtin", *(n for n in names("agents") if n != TEST_AGENT)))
    return AgentUnavailable(
        f"cannot use the agent {name!r}: no adapter of this name is installed",
        hint=f"Set agent_runtime.agent (AGENT_RUNTIME_AGENT, --agent) to one of: {known}.",
    )
