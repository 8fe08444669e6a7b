"""What Slack is sent, against golden files and against hostile text."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.incidents import FINDINGS, a_fault, after, an_incident
from fakes.notices import a_notice, an_investigation
from fakes.receivers import slack_problem
from kubecase.channels.sinks.slack_blocks import encoded, slack_message
from kubecase.channels.sinks.webhook_document import webhook_document
from kubecase.channels.sinks.wording import cut_at_sentence
from kubecase.core.messages import Degraded, Message, Recovered
from kubecase.core.model import Resource, Status

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
HOSTILE = (
    "<!channel> <@U012AB3CD> <https://evil.example|click> @here https://evil.example/?q=1 &amp; "
    "\x1b[31m\u202e`*_~ <!subteam^S1>"
)


def texts(document: Any) -> list[str]:
    """Every text that a client of Slack shows."""
    if isinstance(document, dict):
        own = [document["text"]] if isinstance(document.get("text"), str) else []
        return own + [each for value in document.values() for each in texts(value)]
    if isinstance(document, list):
        return [each for value in document for each in texts(value)]
    return []


def problem(document: dict[str, Any]) -> str | None:
    return slack_problem({"content-type": "application/json"}, encoded(document))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("success", a_notice()),
        ("failed", a_notice(Status.FAILED, "warning", report_url=None, by="builtin")),
        ("nothing", a_notice(Status.TIMEOUT, "info", report=None, report_url=None)),
        (
            "degraded",
            Degraded(
                agent="claude", failures=5, window=310.0, reasons=("quota", "timeout"), at=after(0)
            ),
        ),
        ("recovered", Recovered(agent="claude", downtime=5400.0, failures=7, at=after(0))),
    ],
)
def test_the_message_is_the_golden_one(name: str, message: Message) -> None:
    """Each kind of message is what docs/formats.md section 5 says, to the letter."""
    for form, document in (
        ("slack", slack_message(message)),
        ("webhook", webhook_document(message, "r-1")),
    ):
        expected = json.loads((GOLDEN / f"notice-{name}.{form}.json").read_text())
        assert document == expected, f"notice-{name}.{form}.json"


def hostile_notice(text: str) -> Message:
    """A notice in which everything that others can choose is `text`."""
    best = replace(FINDINGS.hypotheses[0], root_cause=text * 40, next_steps=(text * 4,) * 5)
    fault = a_fault(
        resource=Resource(kind=text, name=text, namespace=text), reason=text, message=text
    )
    return a_notice(
        Status.FAILED,
        incident=replace(an_incident(), fault=replace(fault, cluster=text)),
        investigation=an_investigation(Status.FAILED, error=text, agent=text),
        report=replace(FINDINGS, summary=text, hypotheses=(best,)),
        by=text,
    )


def test_untrusted_text_makes_no_link_mention_or_call() -> None:
    """Nothing that Slack acts on comes out of text that others chose (docs/formats.md 5)."""
    document = slack_message(hostile_notice(HOSTILE))

    assert problem(document) is None
    for text in texts(document):
        assert "://" not in text
        assert "\u202e" not in text
        assert "\x1b" not in text
    header = document["attachments"][0]["blocks"][0]
    # A header is plain text, in which nothing has a meaning; everything else is escaped.
    assert header["text"]["type"] == "plain_text"
    rest = [document["text"], *texts(document["attachments"][0]["blocks"][1:])]
    assert not any("<" in text or ">" in text for text in rest)
    assert all(each["verbatim"] for each in _mrkdwn(document))
    assert (document["parse"], document["link_names"], document["mrkdwn"]) == ("none", False, False)


def _mrkdwn(document: Any) -> list[dict[str, Any]]:
    if isinstance(document, dict):
        own = [document] if document.get("type") == "mrkdwn" else []
        return own + [each for value in document.values() for each in _mrkdwn(value)]
    if isinstance(document, list):
        return [each for value in document for each in _mrkdwn(value)]
    return []


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=400))
def test_any_text_fits(text: str) -> None:
    """Whatever others write, the message keeps every limit of Slack's."""
    assert problem(slack_message(hostile_notice(text))) is None


@pytest.mark.parametrize("sign", ["&", "<", "Ω", "漢", "😀", "\u202e", "a b. "])
def test_long_text_of_any_script_fits(sign: str) -> None:
    """Characters that grow when escaped or encoded do not break the limit of 10 KB."""
    document = slack_message(hostile_notice(sign * 3000))

    assert problem(document) is None


def test_a_long_cause_ends_with_a_sentence() -> None:
    """At most 2000 characters of the cause are told, up to the end of a sentence."""
    cause = "The table users is missing since the migration was not run. " * 60
    best = replace(FINDINGS.hypotheses[0], root_cause=cause, next_steps=("x" * 400,) * 5)
    document = slack_message(a_notice(report=replace(FINDINGS, hypotheses=(best,))))

    shown = next(text for text in texts(document) if text.startswith("*Root cause*"))
    words = shown.removeprefix("*Root cause*\n").partition("\n")[0]
    assert 1500 < len(words) <= 2000
    assert words.endswith("was not run. …")
    steps = next(text for text in texts(document) if text.startswith("*Recommendations*"))
    lines = steps.splitlines()[1:]
    assert len(lines) == 3
    assert all(len(line.removeprefix("• ")) <= 150 for line in lines)


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("Short.", 10, "Short."),
        ("One two. Three four five six.", 14, "One two. …"),
        ("Version 1.2.3 of the image has no such tag at all", 30, "Version 1.2.3 of the image…"),
        ("nowordsatall" * 5, 20, "nowordsatallnoword…"),
    ],
)
def test_text_is_cut_where_it_can_be_read(text: str, limit: int, cut: str) -> None:
    """A sentence ends where it ends, not at the dot of a version; without one, words stay whole."""
    assert cut_at_sentence(text, limit) == cut
