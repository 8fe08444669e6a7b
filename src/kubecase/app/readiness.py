"""Whether an agent can be asked at all, found out right before it is: version, model, self-test."""

import asyncio
import hashlib
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kubecase import __version__
from kubecase.app.model_access import PROTOCOLS, is_served, model_part
from kubecase.app.selftest import Tested, self_test
from kubecase.app.serving import preflight_of
from kubecase.app.settings import Settings
from kubecase.app.unavailable import UnavailableAgent
from kubecase.app.versions import versions_of
from kubecase.core.errors import AgentUnavailable
from kubecase.core.ports import Agent, Observer

if TYPE_CHECKING:
    from kubecase.app.containment import Containment
    from kubecase.app.wiring import Choice
    from kubecase.clusters import ClusterCollector
    from kubecase.service.preflight import Preflight

NAME = "self-tests.json"
MOST = 50
REACHED_FOR = 60.0
CONNECT_SECONDS = 10.0
TESTED: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "claude": ((2, 1, 330), (3,)),
    "codex": ((0, 169, 0), (1,)),
    "gemini": ((0, 61, 0), (1,)),
    "goose": ((1, 34, 0), (2,)),
    "opencode": ((1, 18, 33), (2,)),
}
"""The versions that are taken: from the first, with which all of it was proven, to below the next
main version, which may read its options in another way."""


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What has to hold before `agent` is asked, in this containment."""

    agent: Agent
    choice: "Choice"
    settings: Settings
    contained: "Containment"
    observer: Observer

    async def check(self) -> Sequence[str]:
        """Notes for the report. Raises AgentUnavailable for what stands in the way."""
        notes: list[str] = []
        if is_served(self.choice, self.settings):
            await self.reach_model()
        program = self.program
        if program is None:
            return notes
        version = await asyncio.to_thread(versions_of(self.settings).of, program)
        if version is None:
            notes.append(f"{self.agent.name} does not say its version")
        else:
            require_tested(self.agent.name, version)
        if self.settings.agent_runtime.self_test == "auto":
            require_passed(self.agent.name, program, await self.tested())
        return notes

    @property
    def program(self) -> str | None:
        """The program of a known CLI on this host; None for one in an image."""
        program = getattr(self.agent, "program", None)
        here = isinstance(program, str) and program.startswith("/")
        return program if here and self.contained.runtime.name != "container" else None

    async def tested(self, *, again: bool = False) -> Tested:
        """What came of the self-test, which is made once for each program, or `again`."""
        kept = _Kept(file=self.settings.store.data_dir / NAME)
        key = await asyncio.to_thread(self._key, kept)
        if not again and (known := kept.tested(key)) is not None:
            return known
        self.observer.record("self_test", agent=self.agent.name, program=self.program)
        found = await self_test(self.agent, self.settings, self.contained)
        if found.unproven is None or found.happened:
            kept.keep(key, found)
        return found

    def _key(self, kept: "_Kept") -> str:
        """What a self-test is about: this file, run like this, by this kubecase."""
        words = (
            __version__, self.agent.name, self.contained.runtime.name, self.contained.network,
            *map(str, getattr(self.agent, "extra_args", ())),
            *map(str, getattr(self.agent, "tools", ())),
            kept.digest(str(self.program)),
        )  # fmt: skip
        return " ".join(words)

    async def reach_model(self) -> None:
        """Raise AgentUnavailable unless somebody listens where the model is said to be; what was
        reached within the last minute is not tried again.
        """
        upstream = model_part(self.choice, self.settings).upstream
        address = upstream.proxy or upstream.base_url or upstream.dialect.base_url
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        kept, key = _Kept(file=self.settings.store.data_dir / NAME), f"{parts.hostname} {port}"
        if kept.reached(key):
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except (OSError, TimeoutError) as error:
            raise AgentUnavailable(
                f"cannot use the agent {self.agent.name}: its model's server {upstream.name!r} "
                f"cannot be reached ({parts.hostname}, port {port}: {type(error).__name__})",
                hint=f"Correct agents.{self.agent.name}.base_url, or `upstream` and `models`; or "
                "open the way there, by models.<name>.proxy if need be.",
            ) from error
        writer.close()
        kept.note_reached(key)


def readiness(
    choice: "Choice", settings: Settings, contained: "Containment", observer: Observer
) -> Callable[[], Awaitable[Sequence[str]]] | None:
    """What is checked before this agent is asked; None where there is nothing to check."""
    agent = choice.agent
    if agent is None or isinstance(agent, UnavailableAgent) or choice.name not in PROTOCOLS:
        return None
    return Readiness(
        agent=agent, choice=choice, settings=settings, contained=contained, observer=observer
    ).check


def checked_before(
    settings: Settings,
    choice: "Choice",
    contained: "Containment",
    observer: Observer,
    reached: "ClusterCollector | None",
    *,
    served: bool,
    again: bool,
) -> "Preflight":
    """All that is checked before a run: the credential for the cluster `reached`, and the agent,
    which with `again` was asked by another process already.
    """
    return preflight_of(
        reached,
        settings,
        asks_agent=choice.agent is not None,
        served=served,
        ready=None if again else readiness(choice, settings, contained, observer),
    )


def require_tested(name: str, version: str) -> None:
    """Raise AgentUnavailable for a version outside of the range that kubecase was proven with."""
    numbers = tuple(int(n) for n in re.split("[-+]", version)[0].split("."))
    lowest, end = TESTED[name]
    if lowest <= numbers < end:
        return
    said = ".".join(map(str, lowest))
    raise AgentUnavailable(
        f"cannot use the agent {name}: its version {version} is not one that kubecase was proven "
        f"with, from {said} to below {'.'.join(map(str, end))}",
        hint=f"Install {name} {said}, or name the program of that version in "
        f"agents.{name}.command.",
    )


def require_passed(name: str, program: str, tested: Tested) -> None:
    """Raise AgentUnavailable unless the CLI has refused everything that it was asked for."""
    if tested.passed:
        return
    if tested.happened:
        raise AgentUnavailable(
            f"cannot use the agent {name}: {program} did what is forbidden in its self-test: "
            + "; ".join(tested.happened),
            hint="Use the program of its vendor, in a version that kubecase was proven with; "
            f"`kubecase doctor --self-test --agent {name}` tries it again.",
        )
    raise AgentUnavailable(
        f"cannot use the agent {name}: its self-test proves nothing: {tested.unproven}",
        hint=f"`kubecase doctor --self-test --agent {name}` tries it again; "
        "agent_runtime.self_test: off does without.",
    )


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What was found out before, in the service's own directory."""

    file: Path

    def digest(self, program: str) -> str:
        """The SHA-256 of a program, in hex; read again only when its file has changed."""
        stat = os.stat(program)
        changed = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        known = self._part("files").get(program)
        if isinstance(known, dict) and known.get("stat") == changed:
            return str(known.get("sha256"))
        with open(program, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        self._put("files", program, {"stat": changed, "sha256": found})
        return found

    def tested(self, key: str) -> Tested | None:
        """What came of this self-test, if it was made."""
        value: Any = self._part("tested").get(key)
        try:
            return Tested(acts=int(value["acts"]), happened=tuple(map(str, value["happened"])))
        except (TypeError, KeyError, ValueError):
            return None

    def keep(self, key: str, tested: Tested) -> None:
        """Remember what came of it."""
        self._put("tested", key, {"acts": tested.acts, "happened": list(tested.happened)})

    def reached(self, key: str) -> bool:
        """Whether this address was reached within the last minute."""
        at = self._part("reached").get(key)
        return isinstance(at, float) and 0 <= time.time() - at < REACHED_FOR

    def note_reached(self, key: str) -> None:
        """Remember that it was reached now."""
        self._put("reached", key, time.time())

    def _all(self) -> dict[str, Any]:
        try:
            value = json.loads(self.file.read_bytes())
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _part(self, name: str) -> dict[str, Any]:
        part = self._all().get(name)
        return part if isinstance(part, dict) else {}

    def _put(self, name: str, key: str, value: Any) -> None:
        """Keep the newest; what cannot be kept is found out again."""
        part = self._part(name)
        part.pop(key, None)
        part[key] = value
        newest = dict(list(part.items())[-MOST:])
        with suppress(OSError):
            temporary = self.file.with_suffix(f".{os.getpid()}.new")
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(handle, "w", encoding="utf-8") as file:
                json.dump({**self._all(), name: newest}, file, indent=2)
            temporary.replace(self.file)
