"""What the last reports are made from, and all three of them at once."""

import json
from dataclasses import dataclass
from datetime import datetime

from kubecase.core.model import Collection, Incident, Investigation, Limits
from kubecase.core.redact import Redactor
from kubecase.core.report import Report
from kubecase.service.report.html import as_html
from kubecase.service.report.markdown import as_markdown
from kubecase.service.report.opinions import Opinion
from kubecase.service.report.view import view


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that happened during an investigation and belongs in its timeline."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What ran, as far as it is known. `model` is the one that the CLI named or asked first,
    `models` are all that were asked for at the gateway; `denials` are tool calls that were refused,
    by the CLI or by the tools themselves.
    """

    version: str | None = None
    model: str | None = None
    models: tuple[str, ...] = ()
    denials: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalReport:
    """All that is known about an investigation that is over, whatever its outcome.

    `agent_report` is the Markdown that the agent left, `agent_json` its machine form once checked;
    both are untrusted, as is everything that came from the cluster. `notes` are sentences of ours
    about the run, `isolation_notes` what its isolation does not defend against, `log_tail` the end
    of the agent's log, `opinions` what other agents found.
    """

    incident: Incident
    investigation: Investigation
    findings: Report
    agent_report: str | None = None
    agent_json: Report | None = None
    collection: Collection | None = None
    limits: Limits | None = None
    isolation_notes: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    timeline: tuple[Step, ...] = ()
    log_tail: str = ""
    ran: Ran | None = None
    opinions: tuple[Opinion, ...] = ()


def render(report: FinalReport, redactor: Redactor) -> dict[str, str]:
    """The three final reports by kind: `md`, `html`, `json`.

    Everything in them went through `redactor`; nothing that an agent or a cluster said is active
    in any of them. The JSON form is described in docs/formats.md section 3.
    """
    document = view(report, redactor)
    machine = {k: v for k, v in document.items() if k not in {"agent_report", "agent_report_cut"}}
    return {
        "md": as_markdown(document),
        "html": as_html(document),
        "json": json.dumps(machine, indent=2, ensure_ascii=False) + "\n",
    }
