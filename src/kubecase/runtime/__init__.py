"""How a command is started, watched, contained and stopped; nothing of it is left alive.

Here belong the shim that stands beside every agent, the supervision that talks to it, the records
and the log that the two keep in a run directory, and the layers of isolation. Never here: what
an agent is asked or answers, what an incident is, where workspaces lie, and any decision about
how an investigation ended.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubecase.runtime.supervise import ProcessRuntime

__all__ = ["ProcessRuntime"]


def __getattr__(name: str) -> object:
    # On first use, so that naming the room does not import the event loop.
    if name == "ProcessRuntime":
        from kubecase.runtime.supervise import ProcessRuntime  # noqa: PLC0415

        return ProcessRuntime
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
