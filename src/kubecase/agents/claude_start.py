"""How a session of Claude Code must begin: its first event compared with what was asked for.

Settings that it dropped, a server that did not start, a version that reads its options in another
way: all of it shows in that event, and nowhere else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubecase.agents.lines import printable, text_at
from kubecase.agents.served import SERVER

TESTED = ((2, 1, 330), (3, 0, 0))
"""The versions that are taken: from the first, since `--restricted` must exist, to below the
second."""

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:[-+ ].*)?", re.DOTALL)
_MOST_NAMES = 5
_MOST_SERVERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Demanded:
    """What the first event of a session must show, or the run counts as failed.

    `served` are the tools of kubecase's own server, which may be there with it, or must;
    `optional` are tools that may be there or not.
    """

    tools: frozenset[str]
    permission_mode: str = "dontAsk"
    mcp_servers: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    served: frozenset[str] = frozenset()
    served_needed: bool = False

    def mismatch(self, init: Mapping[str, Any]) -> str | None:
        """What is wrong with this first event; None if nothing is."""
        if text_at(init, "permissionMode") != self.permission_mode:
            told = printable(text_at(init, "permissionMode"), 40) or "none"
            wanted = self.permission_mode
            return f"claude did not start in the permission mode {wanted}, but in {told}"
        if (version := init.get("claude_code_version")) is not None and not _tested(version):
            told = printable(str(version), 40)
            return f"claude started in version {told}, which kubecase was not tested with"
        return self._fits(_names(init.get("tools")), _states(init.get("mcp_servers")))

    def _fits(self, tools: frozenset[str] | None, servers: Mapping[str, str] | None) -> str | None:
        tools = None if tools is None else tools - self.optional
        wanted = [(self.tools | self.served, self.mcp_servers | {SERVER})] if self.served else []
        if not self.served_needed or not wanted:
            wanted.append((self.tools, self.mcp_servers))
        if not any(tools == each for each, _ in wanted):
            return "claude started with other tools than it was given" + _difference(
                tools, frozenset.union(*(each for each, _ in wanted)), wanted[0][0]
            )
        down = {} if servers is None else {n: s for n, s in servers.items() if s != "connected"}
        if down:
            name, state = next(iter(down.items()))
            return (
                "claude started with other tool servers than it was given: "
                f"{name} is {state or 'in no known state'}"
            )
        if servers is None or (tools, frozenset(servers)) not in wanted:
            given = frozenset.union(*(each for _, each in wanted))
            return "claude started with other tool servers than it was given" + _difference(
                None if servers is None else frozenset(servers), given, wanted[0][1]
            )
        return None


def _difference(
    found: frozenset[str] | None, allowed: frozenset[str], wanted: frozenset[str]
) -> str:
    """The names that make the difference, for the end of a sentence."""
    if found is None:
        return ": it did not say which"
    if more := sorted(found - allowed):
        return f": {_listed(more)} should not be there"
    return f": {_listed(sorted(wanted - found))} should be there" if wanted - found else ""


def _listed(names: list[str]) -> str:
    shown = ", ".join(printable(name, 60) or "one without a name" for name in names[:_MOST_NAMES])
    return shown + (" and more" if len(names) > _MOST_NAMES else "")


def _tested(version: Any) -> bool:
    found = _VERSION.fullmatch(version) if isinstance(version, str) else None
    lowest, end = TESTED
    return found is not None and lowest <= tuple(map(int, found.groups())) < end


def _names(value: Any) -> frozenset[str] | None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return None
    return frozenset(value)


def _states(value: Any) -> Mapping[str, str] | None:
    """By the name of a server its state; one that is named twice is in the worse state."""
    if not isinstance(value, list) or len(value) > _MOST_SERVERS:
        return None
    states: dict[str, str] = {}
    for server in value:
        name, state = text_at(server, "name"), printable(text_at(server, "status"), 40)
        if states.get(printable(name, 60)) in (None, "connected"):
            states[printable(name, 60)] = state
    return states
