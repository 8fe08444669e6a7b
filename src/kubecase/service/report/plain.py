"""The reports of last resort: when the full ones cannot be rendered, these still arrive.

They hold only what kubecase itself knows for sure, in words of its own: no text of an agent or a
cluster, so that nothing needs to be masked or made inert.
"""

import json

from kubecase.core.model import Incident, Investigation
from kubecase.core.report import Report
from kubecase.service.report.result import agent_result


def plain_reports(incident: Incident, final: Investigation, findings: Report) -> dict[str, str]:
    """Markdown, HTML and JSON by kind: the outcome, and the categories that the rules named."""
    causes = [f"{each.category} ({each.confidence:.0%})" for each in findings.hypotheses]
    reason = f" ({final.reason})" if final.reason else ""
    lines = [
        f"Incident {incident.id}, attempt {final.attempt}: {final.status}{reason}.",
        "The full report could not be made, which is a bug of kubecase.",
        f"The built-in rules named: {', '.join(causes) or 'no cause'}.",
        f"Workspace: {final.workspace or 'none'}.",
    ]
    result = {**agent_result(final), "error": "the full report could not be made"}
    machine = {
        "schema_version": 1,
        "result": result,
        "cause": None,
        "opinions": [],
        "report": None,
        "findings": {"summary": lines[2], "hypotheses": []},
        "collected": {"objects": 0, "events": 0, "logs": [], "gaps": []},
        "notes": lines[1:2],
    }
    # The workspace's path holds nothing but what the operator chose; all else is ours.
    body = "".join(f"<p>{_escaped(line)}</p>" for line in lines)
    return {
        "md": "# Incident report, in short\n\n" + "\n\n".join(lines) + "\n",
        "html": '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>Incident</title>{body}",
        "json": json.dumps(machine, indent=2) + "\n",
    }


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
