"""Secrets in lines that come one after another, cut anywhere."""

from hypothesis import given
from hypothesis import strategies as st

from fakes.redaction_corpus import Maker, positives
from kubecase.core.redact import Redactor
from kubecase.core.redact_stream import LONGEST_LINE, LineRedactor

LINES = [each for each in positives() if "\n" not in each.text][::7]
KEY = Maker(5).key()


def through(data: bytes, cuts: list[int]) -> tuple[bytes, int]:
    lines, parts, before = LineRedactor(Redactor()), [], 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        parts.append(lines.lines(data[before:cut]))
        before = max(before, cut)
    return b"".join(parts) + lines.end(), lines.masked


@given(
    picked=st.lists(st.sampled_from(LINES), max_size=5),
    noise=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 10_000), max_size=8),
)
def test_it_does_not_matter_where_the_chunks_are_cut(
    picked: list[object], noise: bytes, cuts: list[int]
) -> None:
    """The same bytes give the same lines, however they come, and each line its own redaction."""
    texts = [each.text for each in picked]  # type: ignore[attr-defined]
    data = "\n".join(texts).encode() + b"\n" + noise

    shown, masked = through(data, cuts)

    assert (shown, masked) == through(data, [])
    for each in picked:
        assert each.secret.encode() not in shown  # type: ignore[attr-defined]


@given(cuts=st.lists(st.integers(0, 2000), max_size=10), stamped=st.booleans())
def test_a_key_over_many_lines_vanishes(cuts: list[int], stamped: bool) -> None:
    """A private key vanishes line by line, also behind times, and what follows it stays."""
    time = "2026-01-02T03:04:05.123456789Z " if stamped else ""
    text = "\n".join(time + line for line in f"loading\n{KEY}\nserving on 8080".split("\n"))

    shown, masked = through(text.encode() + b"\n", cuts)

    for line in KEY.split("\n")[1:-1]:
        assert line.encode() not in shown
    assert shown.startswith(f"{time}loading\n".encode())
    assert shown.endswith(f"{time}serving on 8080\n".encode())
    assert masked >= 1


def test_a_key_that_never_ends_does_not_hide_the_log() -> None:
    """After the first line that cannot be of a key, lines are shown again."""
    begin = KEY.split("\n")[0]
    shown, _ = through(f"{begin}\n[error] the file was cut off here!\nnext\n".encode(), [])
    assert shown.decode().split("\n")[1:3] == ["[error] the file was cut off here!", "next"]


def test_a_line_without_end_is_replaced() -> None:
    """A line over a MiB is not shown, and does not fill the memory."""
    data = b"x" * (2 * LONGEST_LINE) + b"\nnext\n"
    shown, _ = through(data, [LONGEST_LINE, LONGEST_LINE + 5])
    assert shown == f"[redacted: a line of {2 * LONGEST_LINE} bytes]\nnext\n".encode()


def test_bytes_that_are_no_text_stay() -> None:
    """What is not UTF-8 comes out as it went in."""
    data = b"\xff\xfe \xe9t\xe9\n"
    assert through(data, [2]) == (data, 0)
