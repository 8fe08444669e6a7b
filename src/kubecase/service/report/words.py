"""The phrases that the reports for people share."""

from collections.abc import Iterator, Mapping
from typing import Any

from kubecase.service.report.view import duration_words, size_words


def headline(document: Mapping[str, Any]) -> str:
    """The one sentence to read at night: the best known cause, or that there is none."""
    cause = document["cause"]
    if cause is None:
        return "No cause has been found yet"
    if cause["category"] == "none.no_fault":
        return "Nothing needs repair"
    text = str(cause["root_cause"])
    return text if len(text) <= 300 else text[:299] + "…"


def confidence_words(confidence: float | None) -> str:
    """`92 %, high`, or that it was not stated."""
    if confidence is None:
        return "not stated"
    return f"{confidence:.0%}".replace("%", " %") + f", {confidence_level(confidence)}"


def confidence_level(confidence: float | None) -> str:
    """High from 0.75, medium from 0.4, low below that, none when it was not stated."""
    if confidence is None:
        return "none"
    return "high" if confidence >= 0.75 else "medium" if confidence >= 0.4 else "low"


def culprit_words(culprit: Mapping[str, str] | None) -> str:
    """`Deployment/api in shop`, or that no object is named."""
    if culprit is None:
        return "no object named"
    where = f" in {culprit['namespace']}" if culprit["namespace"] else ""
    return f"{culprit['kind']}/{culprit['name']}{where}"


def artifact_words(artifact: Mapping[str, Any]) -> str:
    """Size and digest of one artifact."""
    return f"{size_words(artifact['size'])}, sha256 {artifact['sha256']}"


def run_rows(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How the run went, as names and values, in the order of interest."""
    run, result, outcome = document["run"], document["result"], document["outcome"]
    yield "Agent", str(run["agent"]) + (f", version {run['version']}" if run["version"] else "")
    if models := dict.fromkeys([*([run["model"]] if run["model"] else ()), *run["models"]]):
        yield "Model", ", ".join(models)
    yield "Status", outcome["status"] + (f", {outcome['reason']}" if outcome["reason"] else "")
    if result["exit_code"] is not None:
        yield "Exit code", str(result["exit_code"])
    if result["signal"]:
        yield "Signal", str(result["signal"])
    yield "Duration", duration_words(run["seconds"])
    if result["exit_code"] is not None or result["signal"]:
        yield "Usage", _usage(result["usage"])
        yield "Refused tool calls", "not told" if run["denials"] is None else str(run["denials"])
    yield "Isolation", str(run["isolation"] or "no process was started")
    if run["clean"] is not None:
        yield "Processes left behind", _leftover(run)
    if run["limits"]:
        yield "Limits", ", ".join(f"{name} {value}" for name, value in run["limits"].items())
    if run["skills"]:
        yield "Skills", ", ".join(run["skills"])
    if result["workspace_dir"]:
        yield "Workspace", str(result["workspace_dir"])
    if result["output_log"]:
        yield "Log", str(result["output_log"])


def _leftover(run: Mapping[str, Any]) -> str:
    if not run["clean"]:
        return "not proved that none is alive"
    return f"none; {run['leftover']} had to be killed" if run["leftover"] else "none"


def _usage(usage: Mapping[str, Any]) -> str:
    parts = [
        f"{usage[name]:,} {words}"
        for name, words in (("input_tokens", "tokens in"), ("output_tokens", "tokens out"),
                            ("turns", "turns"))
        if usage[name] is not None
    ]  # fmt: skip
    if usage["cost_usd"] is not None:
        parts.append(f"{usage['cost_usd']:.4f} USD")
    return ", ".join(parts) or "not told by the agent"
