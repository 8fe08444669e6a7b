"""The final report as one self-contained page: no script, no image, no address but links to follow.

The agent's Markdown is rendered with HTML and images off and then sanitised; every other value is
escaped by the template. The page forbids itself everything but its own inline style.
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from kubecase.service.report.words import (
    artifact_words,
    confidence_level,
    confidence_words,
    culprit_words,
    headline,
    run_rows,
)

if TYPE_CHECKING:
    from jinja2 import Template
    from markdown_it import MarkdownIt

MAX_RENDERED = 256 * 1024
"""Characters of Markdown that are laid out; what is longer follows as plain text."""

_TAGS = {
    "p", "br", "hr", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em",
    "strong", "s", "a", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip


def as_html(document: Mapping[str, Any]) -> str:
    """The report in `document` (see `view`) as one HTML page, the same for the same input."""
    text = document["agent_report"] or ""
    return _template().render(
        **document,
        headline=headline(document),
        rows=list(run_rows(document)),
        agent_html=render_untrusted(text[:MAX_RENDERED]),
        agent_rest=text[MAX_RENDERED:],
    )


def render_untrusted(markdown: str) -> str:
    """`markdown` as HTML that cannot act: no raw HTML, no images, links only to http and https.

    Its headings begin at level 3, below those of the page. Deep nesting is flattened.
    """
    import nh3  # noqa: PLC0415 - only a report needs it

    return nh3.clean(
        _parser().render(markdown),
        tags=_TAGS,
        attributes={"a": {"href"}, "ol": {"start"}},
        attribute_filter=_only_web_addresses,
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )


def _only_web_addresses(tag: str, attribute: str, value: str) -> str | None:
    """Drop links that would resolve against the place where the page happens to lie."""
    if (tag, attribute) != ("a", "href"):
        return value
    return value if value.lower().startswith(("https://", "http://")) else None


@lru_cache(maxsize=1)
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt  # noqa: PLC0415 - only a report needs it

    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")
    parser.disable(["image", "html_block", "html_inline"])
    parser.core.ruler.push("kubecase_headings", _lower_headings)
    return parser


def _lower_headings(state: Any) -> None:
    level = 2
    for token in state.tokens:
        if token.type == "heading_open":
            # Never more than one step down at once, which is how readers by ear find their way.
            level = min(int(token.tag[1]) + 2, level + 1, 6)
            token.tag = f"h{level}"
        elif token.type == "heading_close":
            token.tag = f"h{level}"


@lru_cache(maxsize=1)
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only a report needs it

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "confidence": confidence_words, "level": confidence_level, "culprit": culprit_words,
        "artifact": artifact_words, "clock": _clock,
    }  # fmt: skip
    source = files("kubecase.service.report").joinpath("final-report.html.j2")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _clock(moment: str) -> str:
    """`2026-01-02 03:04:05` of a moment in RFC 3339."""
    return moment[:19].replace("T", " ")
