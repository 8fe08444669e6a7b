"""A message as Slack's incoming webhook takes it (docs/formats.md section 5). Pure.

Text from anybody can make no link, no mention and no call: the three characters that Slack acts on
are escaped, text objects are `verbatim`, so that addresses and names in them stay text, and the
line that Slack shows in notifications is not parsed at all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubecase.channels.sinks import wording
from kubecase.core.fencing import one_line, visible
from kubecase.core.messages import Degraded, Message, Notice, Recovered, Trial
from kubecase.core.model import Status
from kubecase.core.severity import Severity

MAX_BYTES = 10_000
HEADER = 150
SECTION = 3000
URL = 3000

COLOURS: Mapping[Severity, str] = {
    Severity.CRITICAL: "#E01E5A",
    Severity.WARNING: "#ECB22E",
    Severity.INFO: "#2EB67D",
}
FAILURE_COLOUR = "#611F69"

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Room:
    """How many characters, once escaped, a cause may take, and how many any other value."""

    cause: int
    value: int


ROOMS = (Room(wording.ROOT_CAUSE, 300), Room(1200, 150), Room(600, 80), Room(200, 40))


def slack_message(message: Message) -> dict[str, Any]:
    """`message` as the document that is posted, at most 10 KB of UTF-8 JSON."""
    match message:
        case Notice():
            # The widest that fits: other scripts than Latin take several bytes a character.
            for room in ROOMS:
                document = _document(
                    wording.title(message), _colour(message), _blocks(message, room)
                )
                if len(encoded(document)) <= MAX_BYTES:
                    break
            return document
        case Degraded():
            return _document(*_degraded(message))
        case Recovered():
            return _document(*_recovered(message))
        case Trial():
            words = "This is a test: kubecase can reach this channel."
            head = "kubecase: test message"
            blocks = [_header(head), _section(words), _context(f"Sent at {message.at:%F %T} UTC")]
            return _document(head, COLOURS[Severity.INFO], blocks)


def encoded(document: Mapping[str, Any]) -> bytes:
    """`document` as the bytes that are posted."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def escape(text: str) -> str:
    """`text` without anything that Slack acts on; an address in it does not look like one."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A word joiner: not seen, and enough that no client makes a link of it.
    return escaped.replace("://", ":\u2060//")


def _document(fallback: str, colour: str, blocks: Sequence[Block]) -> dict[str, Any]:
    return {
        "text": _fitted(fallback, HEADER),
        "parse": "none",
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "attachments": [{"color": colour, "blocks": list(blocks)}],
    }


def _colour(notice: Notice) -> str:
    if notice.investigation.status in {Status.FAILED, Status.TIMEOUT}:
        return FAILURE_COLOUR
    return COLOURS[notice.incident.fault.severity]


def _blocks(notice: Notice, room: Room) -> list[Block]:
    fault = notice.incident.fault
    blocks = [
        _header(wording.title(notice)),
        _fields(
            {
                "Cluster": fault.cluster,
                "Namespace": fault.resource.namespace or "none: cluster-scoped",
                "Resource": wording.resource(notice),
                "Reason": fault.reason,
                "Severity": fault.severity.value,
            },
            room,
        ),
    ]
    failed = wording.failure(notice)
    if failed is not None:
        blocks.append(_section(f"*Investigation:* {_fitted(failed, room.value)}"))
    cause = wording.root_cause(notice, room.cause, length=lambda text: len(escape(text)))
    said = escape(cause) if cause else "No cause is known."
    sure = f"\n_{escape(wording.confidence(notice))}_" if cause else ""
    blocks.append(_section(f"*Root cause*\n{said}{sure}"))
    steps = wording.recommendations(notice)
    if steps:
        longest = min(wording.RECOMMENDATION, room.value)
        lines = "\n".join(f"• {_fitted(step, longest)}" for step in steps)
        blocks.append(_section(f"*Recommendations*\n{lines}"))
    attempt = notice.investigation.attempt
    again = f", attempt {attempt}" if attempt > 1 else ""
    blocks.append(
        _context(f"Incident {notice.incident.id}{again} · took {wording.duration(notice)}")
    )
    if notice.report_url is not None and _is_address(notice.report_url):
        blocks.append(_button(notice.report_url))
    return blocks


def _fitted(text: str, longest: int) -> str:
    """`text` escaped, cut where the escaped form would be longer than `longest`."""
    text = wording.cut_at_word(text, longest)
    while len(escape(text)) > longest:
        text = wording.cut_at_word(text, max(2, len(text) * 3 // 4))
    return escape(text)


def _degraded(message: Degraded) -> tuple[str, str, list[Block]]:
    agent = one_line(message.agent, 60)
    head = f"Degraded: {agent} keeps failing"
    reasons = "\n".join(f"• {escape(one_line(each, 200))}" for each in message.reasons[:3])
    words = (
        f"The agent {escape(agent)} failed *{message.failures}* times in a row within "
        f"{wording.seconds_words(message.window)} and is not asked for a while; incidents get the "
        "built-in report meanwhile."
    )
    blocks = [_header(head), _section(words)]
    if reasons:
        blocks.append(_section(f"*Last reasons*\n{reasons}"))
    return head, FAILURE_COLOUR, [*blocks, _context(f"At {message.at:%F %T} UTC")]


def _recovered(message: Recovered) -> tuple[str, str, list[Block]]:
    agent = one_line(message.agent, 60)
    head = f"Recovered: {agent} answers again"
    words = (
        f"The agent {escape(agent)} answers again after "
        f"*{wording.seconds_words(message.downtime)}* and {message.failures} failures in total."
    )
    blocks = [_header(head), _section(words), _context(f"At {message.at:%F %T} UTC")]
    return head, COLOURS[Severity.INFO], blocks


def _header(text: str) -> Block:
    # Plain text is not parsed, so nothing in it is escaped.
    shown = one_line(text, HEADER).replace("://", ":\u2060//")
    return {
        "type": "header",
        "text": {"type": "plain_text", "text": wording.cut_at_word(shown, HEADER), "emoji": False},
    }


def _fields(named: Mapping[str, str], room: Room) -> Block:
    values = {name: one_line(value, 300) or "-" for name, value in named.items()}
    fields = [_mrkdwn(f"*{name}*\n{_fitted(value, room.value)}") for name, value in values.items()]
    return {"type": "section", "fields": fields}


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text[:SECTION])}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_mrkdwn(escape(visible(text)))]}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _button(url: str) -> Block:
    return {
        "type": "actions",
        "elements": [
            {
                "type": "button",
                "text": {"type": "plain_text", "text": "View report", "emoji": False},
                "url": url,
            }
        ],
    }


def _is_address(url: str) -> bool:
    return url.startswith(("https://", "http://")) and len(url) <= URL and url.isprintable()
