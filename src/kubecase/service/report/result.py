"""The `AgentResult` of docs/formats.md section 2: an investigation as other programs read it."""

from datetime import datetime
from typing import Any

from kubecase.core.lifecycle import signal_name
from kubecase.core.model import Investigation, Usage


def agent_result(investigation: Investigation) -> dict[str, Any]:
    """`investigation` with exactly the fields of an AgentResult, ready for `json.dumps`.

    Paths are absolute, moments RFC 3339 in UTC; what has not happened or is not known is null.
    `signal` is a name such as `SIGKILL`.
    """
    exit = investigation.exit
    return {
        "incident_id": investigation.incident_id,
        "attempt": investigation.attempt,
        "status": investigation.status.value,
        "reason": investigation.reason.value if investigation.reason else None,
        "workspace_dir": str(investigation.workspace) if investigation.workspace else None,
        "start_time": _moment(investigation.started_at),
        "end_time": _moment(investigation.ended_at),
        "exit_code": exit.code if exit else None,
        "signal": signal_name(exit.signal) if exit and exit.signal is not None else None,
        "output_log": str(investigation.output_log) if investigation.output_log else None,
        "artifacts": [
            {"path": str(each.path), "size": each.size, "sha256": each.sha256}
            for each in investigation.artifacts
        ],
        "rejected": [{"path": each.path, "why": each.why} for each in investigation.rejected],
        "usage": usage_of(investigation.usage or Usage()),
        "error": investigation.error,
    }


def usage_of(usage: Usage) -> dict[str, Any]:
    """The four fields of `usage`, for JSON."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": usage.cost_usd,
        "turns": usage.turns,
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
