"""What a tool's output is cut down to, so that an agent needs no shell for it. Pure."""

from dataclasses import dataclass

LONGEST = 48 * 1024
LONGEST_LINE = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """`filter` keeps lines that hold one of its words, which `|` parts, in any case; a leading `!`
    keeps the others. `head` and `tail` are numbers of lines, after that.
    """

    filter: str | None = None
    head: int | None = None
    tail: int | None = None


def narrowed(text: str, wanted: Narrowing) -> str:
    """`text` as it was asked for, at most 48 KiB, with a note where something was left out."""
    lines = text.splitlines()
    notes = []
    if wanted.filter:
        before = len(lines)
        lines = _filtered(lines, wanted.filter)
        notes.append(f"{len(lines)} of {before} lines fit the filter")
    if wanted.head is not None and len(lines) > wanted.head:
        notes.append(f"the first {wanted.head} of {len(lines)} lines")
        lines = lines[: wanted.head]
    if wanted.tail is not None and len(lines) > wanted.tail:
        notes.append(f"the last {wanted.tail} of {len(lines)} lines")
        lines = lines[len(lines) - wanted.tail :]
    kept, left_out = _fitting([_shortened(each) for each in lines])
    if left_out:
        notes.append(
            f"{left_out} lines in the middle were left out: narrow it with a name, -n, -l, "
            "--field-selector, --tail, or with the arguments filter, head, tail, jsonpath"
        )
    shown = "\n".join(kept)
    return f"{shown}\n[kubecase: {'; '.join(notes)}]" if notes else shown


def _filtered(lines: list[str], wanted: str) -> list[str]:
    opposite = wanted.startswith("!")
    words = [word for word in wanted.removeprefix("!").lower().split("|") if word]
    if not words:
        return lines
    return [each for each in lines if any(w in each.lower() for w in words) != opposite]


def _shortened(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:LONGEST_LINE]} [... {len(line)} characters in all]"


def _fitting(lines: list[str]) -> tuple[list[str], int]:
    """The beginning and the end of what is too long, and how many lines that leaves out."""
    if sum(len(each) + 1 for each in lines) <= LONGEST:
        return lines, 0
    head, tail, size = 0, 0, 0
    while head + tail < len(lines):
        from_end = tail <= head
        each = lines[len(lines) - 1 - tail] if from_end else lines[head]
        size += len(each) + 1
        if size > LONGEST:
            break
        tail, head = (tail + 1, head) if from_end else (tail, head + 1)
    left_out = len(lines) - head - tail
    if left_out <= 0:
        return lines, 0
    return [*lines[:head], "[...]", *lines[len(lines) - tail :]], left_out
