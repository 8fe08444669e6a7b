"""What the routes of the HTTP API work with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import anyio

from kubecase.app.metrics import RuntimeMetrics
from kubecase.app.settings import Settings
from kubecase.app.web.backend import Backend
from kubecase.core.ports import Observer
from kubecase.core.redact import Redactor
from kubecase.store import Store

if TYPE_CHECKING:
    from fastapi import Request

    from kubecase.app.web.access import Caller


@dataclass(kw_only=True)
class Context:
    """Everything that the routes know. `stopping` is set when streams have to end."""

    settings: Settings
    backend: Backend
    store: Store
    metrics: RuntimeMetrics
    observer: Observer
    clock: Callable[[], datetime]
    redactor: Redactor
    stopping: anyio.Event = field(default_factory=anyio.Event)
    streams: int = 0

    @property
    def cluster_default(self) -> str:
        """The cluster of faults that name none: the configured one, if there is just one."""
        names = tuple(self.settings.clusters)
        return names[0] if len(names) == 1 else "default"


def context_of(request: "Request") -> Context:
    """That of the application that answers `request`."""
    found: Context = request.app.state.context
    return found


def caller_of(request: "Request") -> "Caller":
    """Who asks."""
    found: Caller = request.state.caller
    return found
