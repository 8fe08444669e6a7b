"""The three final reports: there for every outcome, complete, bounded, and inert."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fakes.incidents import FINDINGS, ID, MESSAGE, a_collection, after, an_incident
from kubecase.core.model import (
    Artifact,
    Cause,
    Exit,
    Investigation,
    Limits,
    Reason,
    Rejected,
    Status,
    Usage,
)
from kubecase.core.redact import Redactor
from kubecase.core.report import Report, report_as_json
from kubecase.service.report import FinalReport, Ran, Step, agent_result, render
from kubecase.service.report.extract import extract, machine_part
from kubecase.service.report.html import render_untrusted
from kubecase.service.report.markdown import block, code, inert
from kubecase.service.report.view import duration_words, size_words

FIELDS = [
    "incident_id", "attempt", "status", "reason", "workspace_dir", "start_time", "end_time",
    "exit_code", "signal", "output_log", "artifacts", "rejected", "usage", "error",
]  # fmt: skip
AGENT_REPORT = """# Kubernetes Incident Triage Report

## 0. Executive Triage Card

The signer cannot start since its key material is **gone**.

## 2. Assessment & Findings

- [FACT-1] The event `FailedMount` names the Secret `signer-keys`.

## 3. Root Cause Analysis

### H1: Secret signer-keys was deleted from namespace signing (Confidence: High)

Nobody restored it.

### H2: The name is misspelled

**Confidence:** Low, see config.missing_key

## 4. Remediation Plan

1. Restore the Secret, see [the runbook](https://runbooks.example.com/signer).
2. Restart the rollout.
"""
ENDED_WELL = Exit(cause=Cause.EXITED, code=0, signal=None, seconds=199.0, clean=True)
KILLED = Exit(cause=Cause.DEADLINE, code=None, signal=9, seconds=600.0, clean=True, leftover=2)


def an_investigation(status: Status = Status.SUCCESS, **changes: Any) -> Investigation:
    root = Path("/var/lib/kubecase/workspaces") / f"incident-{ID}"
    values: dict[str, Any] = {
        "incident_id": ID, "attempt": 1, "agent": "claude", "status": status,
        "created_at": after(0.5), "started_at": after(2), "ended_at": after(201),
        "workspace": root, "exit": ENDED_WELL, "output_log": root / "output/agent.log",
        "usage": Usage(input_tokens=48211, output_tokens=3120, cost_usd=0.2144, turns=11),
        "artifacts": (Artifact(path=root / "output/artifacts/a.txt", size=5, sha256="ab" * 32),),
        "rejected": (Rejected(path="output/artifacts/link", why="a symbolic link"),),
        "isolation": "landlock",
    }  # fmt: skip
    return Investigation(**{**values, **changes})


def a_report(investigation: Investigation | None = None, **changes: Any) -> FinalReport:
    values: dict[str, Any] = {
        "incident": an_incident(), "investigation": investigation or an_investigation(),
        "findings": FINDINGS, "agent_report": AGENT_REPORT, "collection": a_collection(),
        "limits": Limits(
            wall_clock=600, grace=30, idle=None, output_bytes=64 << 20, disk_bytes=1 << 30
        ),
        "isolation_notes": ("a fault of the kernel",), "skills": ("kubernetes-triage 3fa9",),
        "notes": ("report.json was not taken",), "log_tail": "last words\n",
    }  # fmt: skip
    return FinalReport(**{**values, **changes})


def rendered(report: FinalReport, *known: str) -> dict[str, str]:
    return render(report, Redactor(known))


FAILURES = [
    *((Status.FAILED, reason) for reason in Reason),
    (Status.TIMEOUT, None), (Status.CANCELLED, None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "reason"), [(Status.SUCCESS, None), *FAILURES])
@pytest.mark.parametrize("text", [AGENT_REPORT, None])
def test_every_outcome_gets_three_reports(
    status: Status, reason: Reason | None, text: str | None
) -> None:
    """Whatever the outcome, all three reports say it, its reason, and the built-in findings."""
    error = None if status is Status.SUCCESS else "what went wrong"
    reports = rendered(
        a_report(an_investigation(status, reason=reason, error=error), agent_report=text)
    )

    assert set(reports) == {"md", "html", "json"}
    for each in reports.values():
        assert status.value in each
        assert error is None or error in each
    if reason:
        assert f"**failed ({reason})**" in reports["md"]
        assert f"failed: {reason}</li>" in reports["html"]
        assert json.loads(reports["json"])["result"]["reason"] == reason
    for each in reports.values():
        assert "config.missing_secret" in each
        assert "previous log of signing" in each
        assert "a fault of the kernel" in each
        assert "last words" in each
    if text and status is not Status.SUCCESS:
        assert "partial" in reports["md"]
        assert "partial result" in reports["html"]


def test_a_crash_of_ours_before_anything_is_reported_too() -> None:
    """With no workspace, no facts and no findings the reports still say what is known."""
    reports = rendered(
        FinalReport(
            incident=an_incident(),
            investigation=an_investigation(
                Status.FAILED, reason=Reason.INTERNAL, error="workspace: KeyError: 'x'",
                workspace=None, started_at=None, exit=None, usage=None, output_log=None,
                artifacts=(), rejected=(), isolation=None,
            ),
            findings=Report(summary="No findings."),
        )
    )  # fmt: skip

    for text in reports.values():
        assert "kubecase itself failed" in text
        assert "KeyError" in text
        assert ID in text
    assert "No cause has been found yet" in reports["html"]
    assert json.loads(reports["json"])["cause"] is None


def test_the_result_has_exactly_the_agreed_fields() -> None:
    """The machine form of a result names each field of an AgentResult, and no other (req 1.2)."""
    result = agent_result(an_investigation())

    assert list(result) == FIELDS
    assert list(result["usage"]) == ["input_tokens", "output_tokens", "cost_usd", "turns"]
    assert result["artifacts"][0] == {
        "path": f"/var/lib/kubecase/workspaces/incident-{ID}/output/artifacts/a.txt",
        "size": 5, "sha256": "ab" * 32,
    }  # fmt: skip
    assert result["rejected"] == [{"path": "output/artifacts/link", "why": "a symbolic link"}]
    assert (result["exit_code"], result["signal"]) == (0, None)
    assert result["start_time"] == after(2).isoformat()
    assert json.loads(json.dumps(result)) == result


RAN = Ran(version="2.1.330", model="sonnet-4", models=("haiku-4", "sonnet-4"), denials=3)


@pytest.mark.parametrize("kind", ["md", "html"])
def test_every_report_says_what_ran(kind: str) -> None:
    """Agent, version, models, turns, tokens, cost and refused calls stand where people look."""
    text = rendered(a_report(ran=RAN))[kind]

    for words in (
        "claude, version 2.1.330", "sonnet-4, haiku-4", "48,211 tokens in", "3,120 tokens out",
        "11 turns", "0.2144 USD", "Refused tool calls",
    ):  # fmt: skip
        assert words in text
    assert "not told" in rendered(a_report(ran=Ran()))[kind]


def test_the_machine_report_says_what_ran() -> None:
    """Programs find the same under `run`; the fields of the result remain as they were agreed."""
    machine = json.loads(rendered(a_report(ran=RAN))["json"])
    run = machine["run"]

    assert {name: run[name] for name in ("agent", "version", "model", "models", "denials")} == {
        "agent": "claude", "version": "2.1.330", "model": "sonnet-4",
        "models": ["haiku-4", "sonnet-4"], "denials": 3,
    }  # fmt: skip
    assert run["usage"] == machine["result"]["usage"]
    assert list(machine["result"]["usage"]) == [
        "input_tokens", "output_tokens", "cost_usd", "turns",
    ]  # fmt: skip
    run = json.loads(rendered(a_report())["json"])["run"]
    assert (run["version"], run["model"], run["models"], run["denials"]) == (None, None, [], None)


def test_names_of_models_are_inert_and_bounded() -> None:
    """A CLI that calls its model by a script or by a mile of letters changes no report."""
    evil = Ran(version="<b>1</b>", model="<script>alert(1)</script>" + "x" * 5000, denials=0)

    texts = rendered(a_report(ran=evil))

    assert "<script>alert" not in texts["html"] + texts["md"]
    assert "<b>1" not in texts["html"] + texts["md"]
    assert all("x" * 201 not in text for text in texts.values())


def test_a_result_without_a_process_holds_nulls() -> None:
    """What never happened is null, a signal has its name (req 1.2, 10.4)."""
    bare = Investigation(
        incident_id=ID, attempt=2, agent="x", status=Status.CREATED, created_at=after(0)
    )
    killed = agent_result(an_investigation(Status.TIMEOUT, exit=KILLED))

    assert {k for k, v in agent_result(bare).items() if v is None} == {
        "reason", "workspace_dir", "start_time", "end_time", "exit_code", "signal", "output_log",
        "error",
    }  # fmt: skip
    assert (killed["exit_code"], killed["signal"]) == (None, "SIGKILL")


def test_the_machine_report_holds_result_report_and_findings() -> None:
    """final-report.json carries schema version, result, the agent's report and the findings."""
    document = json.loads(rendered(a_report(agent_json=FINDINGS))["json"])

    assert document["schema_version"] == 1
    assert document["result"] == agent_result(an_investigation())
    assert document["report"] == {"extracted": False, **report_as_json(FINDINGS)}
    assert document["findings"] == report_as_json(FINDINGS)


def test_a_report_is_extracted_from_the_headings() -> None:
    """Root cause, confidence and steps are read from Markdown, and marked as extracted."""
    document = json.loads(rendered(a_report())["json"])
    first, second = document["report"]["hypotheses"]

    assert document["report"]["extracted"] is True
    assert document["report"]["summary"] == (
        "The signer cannot start since its key material is gone."
    )
    assert first["root_cause"] == "Secret signer-keys was deleted from namespace signing"
    assert (first["confidence"], second["confidence"]) == (0.9, 0.3)
    assert (first["category"], second["category"]) == (None, "config.missing_key")
    assert first["next_steps"] == ["Restore the Secret, see the runbook.", "Restart the rollout."]
    assert document["report"]["facts"][0]["id"] == "FACT-1"
    assert document["cause"]["by"] == "the agent claude"


@pytest.mark.parametrize(
    ("markdown", "cause", "confidence"),
    [
        ("# 3) ROOT CAUSE ANALYSIS\n\n**H1** - It is DNS. Confidence: Medium\n", "It is DNS", 0.6),
        ("#### Root cause\n- H1 (High confidence): DNS broke\n- H2: x\n", "DNS broke", 0.9),
        ("**3. Root Cause Analysis**\n\nH1: DNS broke (confidence 85%)\n", "DNS broke", 0.85),
        ("## Root Cause\n\nDNS broke.\n\nConfidence: 0.7\n", "DNS broke.", 0.7),
        ("## Root Cause\n|H|Cause|C|\n|-|-|-|\n|H1|DNS broke|High|\n", "DNS broke", 0.9),
        ("### Primary root cause\n\nDNS broke\n", "DNS broke", None),
        ("## 3. Root Cause Analysis\n### Hypothesis H1\nDNS broke\n\nConfidence: low\n",
         "DNS broke", 0.3),
    ],
)  # fmt: skip
def test_extraction_tolerates_levels_and_numbering(
    markdown: str, cause: str, confidence: float | None
) -> None:
    """Heading levels, numbering, bold titles, lists and tables are all read."""
    found = extract(markdown)

    assert found is not None
    assert found["hypotheses"][0]["root_cause"].rstrip(".") == cause.rstrip(".")
    assert found["hypotheses"][0]["confidence"] == confidence


@pytest.mark.parametrize("text", ["", "hello", "# Title\n\ntext", "```\n## Root cause\nx\n```"])
def test_nothing_is_extracted_where_nothing_is_said(text: str) -> None:
    """A text without a root cause gives no report rather than an invented one."""
    assert extract(text) is None


def test_a_machine_report_is_found_in_a_fenced_block() -> None:
    """An agent that cannot write files may end its answer with the JSON form."""
    machine = json.dumps(report_as_json(FINDINGS))
    text = f'{AGENT_REPORT}\n```json\n{{"no": 1}}\n```\n\n```json\n{machine}\n```\n'

    assert machine_part(text) == FINDINGS
    document = json.loads(rendered(a_report(agent_report=text))["json"])
    assert document["report"]["extracted"] is False


def test_half_a_text_is_not_the_headline() -> None:
    """What was read from an unfinished report does not displace a finding of the rules."""
    stopped = an_investigation(Status.TIMEOUT, exit=KILLED, error="stopped after 600 s")
    document = json.loads(rendered(a_report(stopped, agent_report=AGENT_REPORT[:290]))["json"])

    assert document["cause"]["by"] == "the built-in rules"
    assert document["outcome"]["partial"] is True


def test_the_built_in_investigator_speaks_for_itself() -> None:
    """When no agent was asked, the reports say so and rest on the rules."""
    reports = rendered(
        a_report(an_investigation(agent="builtin"), agent_report=None, agent_json=FINDINGS)
    )

    assert "The built-in investigator finished its investigation." in reports["md"]
    assert json.loads(reports["json"])["cause"]["by"] == "the built-in rules"


def test_a_healthy_incident_says_that_nothing_needs_repair() -> None:
    """The headline of a false alarm is that there is nothing to repair."""
    none = replace(FINDINGS.hypotheses[0], category="none.no_fault", culprit=None)
    reports = rendered(a_report(findings=Report(summary="Fine.", hypotheses=(none,)),
                                agent_report=None))  # fmt: skip

    assert "<h1>Nothing needs repair</h1>" in reports["html"]
    assert reports["md"].startswith("# Nothing needs repair\n")


def test_the_timeline_is_in_the_order_of_time() -> None:
    """Moments of ours and of the caller stand in one order, each with its distance."""
    step = Step(at=after(100), what="the agent asked for logs")
    timeline = json.loads(rendered(a_report(timeline=(step,)))["json"])["timeline"]

    assert [each["at"] for each in timeline] == sorted(each["at"] for each in timeline)
    assert {"at": after(100).isoformat(), "after": "1 min 38 s", "what": step.what} in timeline
    assert timeline[-1]["what"] == "The investigation ended: success"


def test_no_secret_reaches_a_report() -> None:
    """Known values and recognised secrets are masked wherever an agent or a cluster said them."""
    canary = "canary-0451-value"
    said = f"{canary} password=hunter2"
    investigation = an_investigation(
        Status.FAILED, reason=Reason.AUTH, error=said,
        rejected=(Rejected(path=said, why=said),),
    )  # fmt: skip
    reports = rendered(
        a_report(
            investigation, incident=an_incident(message=said, reason=said), agent_report=said,
            findings=Report(summary=said), log_tail=said, notes=(said,), isolation_notes=(said,),
        ),
        canary,
    )  # fmt: skip

    for text in reports.values():
        assert canary not in text
        assert "hunter2" not in text
        assert "redacted" in text


HOSTILE = [
    "<script>document.title='owned'</script>", "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))", "[x](JaVaScRiPt&colon;alert(1))", "![x](http://192.0.2.1/leak.png)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)", "<svg onload=alert(1)>", "<iframe src=//x></iframe>",
    "<form action=//x><input name=a></form>", "<meta http-equiv=refresh content='0;url=//x'>",
    "<style>body{display:none}</style>", "</pre></section><h1>owned</h1>", "<a href=//x>x</a>",
    "[x]: javascript:alert(1)\n\n[x]", "<javascript:alert(1)>", "`</code><script>x</script>`",
    "~~~\n```\n</pre><script>1</script>", "{{ 7*7 }}{% include 'x' %}",
    "'\" onmouseover=alert(1) x",
    "--><script>1</script>", "[x](//evil.example)", "[x](/etc/passwd)", "[x](file:///etc/passwd)",
    "| a | b |\n|-|-|\n| <b onclick=x> | ![y](//z) |", "https://evil.example/ www.evil.example",
    "<base href=//x>", "<link rel=stylesheet href=//x>", "<object data=//x>", "\u202egnp.exe",
]  # fmt: skip
ACTIVE = re.compile(
    r"<\s*(script|img|svg|iframe|form|input|object|embed|base|video|audio|link\b|button)"
    r"|<[^>]*\s(on\w+|src|srcset|action|formaction|background|data)\s*=",
    re.IGNORECASE,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_are_inert_in_the_page(text: str) -> None:
    """No word of an agent or a cluster becomes an element that acts, wherever it stands."""
    hostile = replace(FINDINGS.hypotheses[0], root_cause=text, next_steps=(text,))
    page = rendered(
        a_report(
            an_investigation(Status.FAILED, reason=Reason.INTERNAL, error=text, agent=text,
                             rejected=(Rejected(path=text, why=text),), isolation=text),
            incident=an_incident(message=text, reason=text, cluster=text), agent_report=text,
            findings=Report(summary=text, hypotheses=(hostile,)), log_tail=text, notes=(text,),
            skills=(text,), isolation_notes=(text,), agent_json=Report(summary=text),
        )
    )["html"]  # fmt: skip

    assert not ACTIVE.search(page), ACTIVE.search(page)
    assert page.count("<style>") == 1
    assert page.count("<meta http-equiv") == 1
    assert page.count("<h1>") == 1
    assert ("{{ 7*7 }}" in page) == ("7*7" in text)
    for href in re.findall(r"<a[^>]*href=\"([^\"]*)\"", page):
        assert href.startswith(("http://", "https://"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_are_inert_in_the_markdown(text: str) -> None:
    """Rendered with raw HTML on, the Markdown report holds no element or link of a stranger's."""
    hostile = replace(FINDINGS.hypotheses[0], root_cause=text, next_steps=(text,))
    markdown = rendered(
        a_report(
            an_investigation(Status.FAILED, reason=Reason.INTERNAL, error=text, agent=text,
                             rejected=(Rejected(path=text, why=text),), isolation=text),
            incident=an_incident(message=text, reason=text, cluster=text), agent_report=text,
            findings=Report(summary=text, hypotheses=(hostile,)), log_tail=text, notes=(text,),
        )
    )["md"]  # fmt: skip
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)

    assert not ACTIVE.search(page), ACTIVE.search(page)
    assert "<a " not in page
    assert "<style" not in page
    assert page.count("<h1>") == 1


def test_links_of_an_agent_lead_to_the_web_and_tell_nothing() -> None:
    """Only http and https links survive, without referrer, opener or endorsement."""
    page = render_untrusted("[a](https://x.example/) [b](mailto:a@b) [c](#d) [e](ftp://x)")

    assert page.count("href=") == 1
    assert 'href="https://x.example/"' in page
    assert 'rel="noopener noreferrer nofollow"' in page


def test_headings_of_an_agent_stand_below_those_of_the_page() -> None:
    """An agent's headings begin at level 3 and never skip a level."""
    page = render_untrusted("# a\n\n### b\n\n# c\n\n###### d\n")

    assert re.findall(r"<h(\d)>", page) == ["3", "4", "3", "4"]


def test_the_page_forbids_itself_everything() -> None:
    """The page is self-contained: a strict policy, no address but links, a language, a title."""
    page = rendered(a_report())["html"]

    assert (
        "content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'\"" in page
    )
    assert '<html lang="en">' in page
    assert 'name="viewport"' in page
    assert "url(" not in page
    assert "@import" not in page
    assert re.findall(r"https?://[^\s\"<]+", page) == ["https://runbooks.example.com/signer"]


def test_reports_are_bounded_whatever_an_agent_leaves() -> None:
    """An agent's report over 1 MiB is cut and the cut is told, in seconds and not minutes."""
    reports = rendered(
        a_report(
            agent_report="# x\n" + "word [a](b) *c* | d\n" + "plain words\n" * 100_000,
            log_tail="y" * 10**6,
        )
    )

    assert "more characters were left out" in reports["md"]
    assert "more characters were left out" in reports["html"]
    assert len(reports["md"]) < 2_500_000
    assert len(reports["html"]) < 3_500_000
    assert len(reports["json"]) < 500_000


@pytest.mark.parametrize("text", ["[" * 20_000, ">" * 20_000, "- " * 20_000, "*a " * 10_000,
                                  "`" * 20_000, "|a" * 20_000 + "\n" + "|-" * 20_000, "<" * 20_000,
                                  "H1 " * 30_000, "![[](" * 4_000])  # fmt: skip
@pytest.mark.timeout(30)
def test_pathological_markdown_ends_in_time(text: str) -> None:
    """Markdown made to exhaust a parser is rendered and read within seconds."""
    assert isinstance(render_untrusted(text), str)
    assert set(rendered(a_report(agent_report="## Root cause\n" + text))) == {"md", "html", "json"}


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=120))
def test_any_text_stays_text_in_markdown(text: str) -> None:
    """Escaped, coded or fenced, any text comes out of a renderer as the text it is."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    line = " ".join(text.split())

    for shown in (f"x {inert(text)}", f"x {code(text)}"):
        tokens = parser.parse(shown)
        assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"]
        inner = {t.type for t in tokens[1].children or ()}
        assert inner <= {"text", "text_special", "code_inline"}, (line, inner)
    assert [t.type for t in parser.parse(block(text))] == ["fence"]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300))
def test_any_agent_report_can_be_reported(text: str) -> None:
    """No text that an agent leaves can keep the reports from being made."""
    reports = rendered(a_report(agent_report=text, log_tail=text, agent_json=None))

    json.loads(reports["json"])
    assert all(report.encode() for report in reports.values())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.01, "10 ms"), (0.42, "0.4 s"), (12.3, "12 s"), (60, "1 min"),
     (200, "3 min 20 s"), (7500, "2 h 5 min"), (266400, "3 d 2 h"), (None, "not known")],
)  # fmt: skip
def test_durations_read_like_words(seconds: float | None, words: str) -> None:
    """A duration is told in the two units that matter."""
    assert duration_words(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (5 << 40, "5120 GiB")],
)
def test_sizes_read_like_words(size: int, words: str) -> None:
    """A size is told in the unit that fits."""
    assert size_words(size) == words


def test_the_message_of_the_fault_stands_in_every_report() -> None:
    """The words of the cluster are quoted as they came."""
    reports = rendered(a_report())

    assert MESSAGE in reports["md"]
    assert MESSAGE.replace('"', "&#34;") in reports["html"]
    assert json.loads(reports["json"])["incident"]["message"] == MESSAGE
