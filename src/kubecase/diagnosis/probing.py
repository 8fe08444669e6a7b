"""Failing probes: which one, how often, what was answered, what it asks."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubecase.diagnosis.facts import Happening
from kubecase.diagnosis.pods import Container
from kubecase.diagnosis.values import mapping, number, text

_PROBE = re.compile(
    r"^(Liveness|Readiness|Startup) probe (?:failed|errored)[^:]*: ?(.*)", re.DOTALL
)


_STATUS = re.compile(r"statuscode: (\d{3})")


@dataclass(frozen=True)
class Trouble:
    """A failing probe: which one, the events, what its answer was, how it is specified."""

    container: Container
    probe: str
    events: tuple[Happening, ...]
    said: str
    spec: Mapping[str, Any]

    @property
    def status(self) -> int | None:
        """The HTTP status of the answer."""
        matched = _STATUS.search(self.said)
        return int(matched.group(1)) if matched else None

    @property
    def count(self) -> int:
        """How often it failed."""
        return sum(event.count for event in self.events)

    @property
    def target(self) -> str:
        """What the probe asks, for a sentence."""
        http, tcp = mapping(self.spec, "httpGet"), mapping(self.spec, "tcpSocket")
        if http:
            return f"{text(http, 'path') or '/'} on port {text(http, 'port')}"
        if tcp:
            return f"port {text(tcp, 'port')}"
        return (
            "its command"
            if mapping(self.spec, "exec")
            else f"port {text(self.spec, 'grpc', 'port')}"
        )

    @property
    def port(self) -> int | None:
        """The port it asks, names resolved."""
        asked = (
            text(self.spec, "httpGet", "port")
            or text(self.spec, "tcpSocket", "port")
            or text(self.spec, "grpc", "port")
        )
        if asked.isdigit():
            return int(asked)
        named = (p for p in self.container.ports if asked and text(p, "name") == asked)
        return next((number(p, "containerPort") for p in named), None)

    @property
    def listening(self) -> tuple[int, ...]:
        """Where the program says that it listens."""
        return tuple(port for log in self.container.logs for port in log.listening_ports)

    @property
    def seconds_to_kill(self) -> float:
        """How long after the start the probe gives up."""
        delay = number(self.spec, "initialDelaySeconds") or 0
        period, tries = (
            number(self.spec, "periodSeconds") or 10,
            number(self.spec, "failureThreshold") or 3,
        )
        return float(delay + period * tries)


def troubles(container: Container) -> Iterator[Trouble]:
    """The failing probes of a container, each with what it says most often."""
    by_probe: dict[str, list[Happening]] = {}
    for event in container.events("Unhealthy", "ProbeWarning"):
        matched = _PROBE.match(event.message)
        if matched:
            by_probe.setdefault(matched.group(1).lower(), []).append(event)
    for probe, events in by_probe.items():
        # What it says most often is what it means; a refusal once during a start is not.
        main = max(events, key=lambda e: (e.count, e.last is not None))
        said = _PROBE.match(main.message)
        yield Trouble(
            container,
            probe,
            (main, *(e for e in events if e is not main)),
            said.group(2) if said else "",
            mapping(container.spec, f"{probe}Probe"),
        )
