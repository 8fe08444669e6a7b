"""What a pass over the workspaces looks like: lines, JSON, a summary, and progress."""

import json as jsonlib
import time
from typing import Any, TextIO

from kubecase.app.boundary import printable
from kubecase.service.dispose import Swept
from kubecase.workspace import shown

SECONDS_BETWEEN_LOOKS = 0.2


def in_words(swept: Swept, *, dry_run: bool = False) -> str:
    """One line for people."""
    path = shown(str(swept.path))
    deed = "archive and delete" if swept.archive else "delete"
    if swept.error is not None:
        return printable(f"could not {deed} {path}: {swept.error}")
    if not swept.delete:
        return f"keep {path}: {swept.why}"
    if dry_run:
        return f"would {deed} {path}: {swept.why}"
    done = "archived and deleted" if swept.archive else "deleted"
    return f"{done} {path}: {swept.why}{_archive_in_words(swept)}"


def _archive_in_words(swept: Swept) -> str:
    archive = swept.packed
    if archive is None:
        return ""
    notes = f"; {archive.left_out} entries left out" if archive.left_out else ""
    notes += f"; truncated: {archive.truncated}" if archive.truncated else ""
    return f" -> {shown(str(archive.path))}{notes}"


def as_json(swept: Swept) -> dict[str, Any]:
    """The decision for machines, and what came of it."""
    archive = swept.packed
    return {
        "path": str(swept.path),
        "delete": swept.delete,
        "archive": swept.archive,
        "why": swept.why,
        "error": swept.error,
        "freed_bytes": swept.freed_bytes,
        "archived_to": None if archive is None else str(archive.path),
        "archive_bytes": None if archive is None else archive.bytes,
        "left_out": None if archive is None else archive.left_out,
        "truncated": None if archive is None else archive.truncated,
    }


class TextLines:
    """Prints a line for each decision."""

    def __init__(self, out: TextIO, *, dry_run: bool) -> None:
        self._out = out
        self._dry_run = dry_run
        self._any = False

    def show(self, swept: Swept) -> None:
        """Print one decision."""
        self._any = True
        print(in_words(swept, dry_run=self._dry_run), file=self._out)

    def end(self, instead: str = "") -> None:
        """Print `instead` if there was no decision."""
        if instead and not self._any:
            print(printable(instead), file=self._out)


class JsonLines:
    """Prints decisions as one JSON array, a decision a line, while they are made."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._begun = False

    def show(self, swept: Swept) -> None:
        """Print one decision."""
        self._out.write((",\n  " if self._begun else "[\n  ") + jsonlib.dumps(as_json(swept)))
        self._begun = True

    def end(self, instead: str = "") -> None:
        """Close the array; `instead` is for people."""
        print("\n]" if self._begun else "[]", file=self._out)


class Summary:
    """An observer that keeps how a pass ended, and says it in one line."""

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._fields: dict[str, Any] = {}

    @property
    def failed(self) -> int:
        """How many could not be deleted."""
        return int(self._fields.get("failed", 0))

    def record(self, event: str, /, **fields: object) -> None:
        """Keep the end of a pass."""
        if event == "gc_completed":
            self._fields = dict(fields)

    def show(self) -> None:
        """Say how the pass ended, and whether space is short still."""
        fields = self._fields
        if not fields:
            return
        at_least = "" if fields["measured"] else "at least "
        text = (
            f"{fields['kept']} kept, {fields['deleted']} {{}}deleted, {fields['archived']} "
            f"{{}}archived, {at_least}{size(fields['freed_bytes'])} {{}}freed"
        ).format(*["to be " if fields["dry_run"] else ""] * 3)
        if fields["archive_bytes"]:
            text += f", {size(fields['archive_bytes'])} of archives written"
        if fields["failed"]:
            text += f", {fields['failed']} failed"
        print(f"{text}, in {fields['duration']:.1f} s", file=self._err)
        self._say_short()

    def _say_short(self) -> None:
        free, wanted = self._fields["free_bytes"], self._fields["min_free_bytes"]
        if free is None or wanted is None:
            return
        free += self._fields["freed_bytes"] if self._fields["dry_run"] else 0
        if free < wanted:
            print(
                f"kubecase: {size(free)} are free, less than agent_runtime.min_free_space "
                f"({size(wanted)}), and no other workspace may go\n"
                "  → Free space by hand, or set another agent_runtime.cleanup_policy.",
                file=self._err,
            )


class Watched:
    """An observer that prints what goes, and how each pass that changed something ended."""

    def __init__(self, out: TextIO, summary: Summary, meter: "Meter") -> None:
        self._out = out
        self._summary = summary
        self._meter = meter

    def record(self, event: str, /, **fields: object) -> None:
        """Print `event`, if people want to read it."""
        self._summary.record(event, **fields)
        line = _watched_in_words(event, fields)
        self._meter.clear()
        if line:
            print(printable(line), file=self._out, flush=True)
        if event == "gc_completed":
            self._summary.show()


def _watched_in_words(event: str, fields: dict[str, object]) -> str | None:
    match event:
        case "workspace_deleted":
            archive = fields.get("archive")
            packed = "" if archive is None else f" -> {shown(str(archive))}"
            path = shown(str(fields.get("workspace")))
            return f"deleted {path}: {fields.get('why')}{packed}"
        case "error":
            where = fields.get("workspace")
            what = "" if where is None else f"could not delete {shown(str(where))}: "
            return f"{what}{fields.get('error')}"
        case "gc_skipped":
            return str(fields.get("why"))
        case _:
            return None


class Meter:
    """A line on a terminal that says how far a pass is; nothing anywhere else."""

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._on = err.isatty()
        self._looked = 0.0
        self._visible = False
        self._passed = 0
        self._name, self._bytes = "", 0

    def count(self) -> None:
        """One entry more was dealt with."""
        self._passed += 1
        self._draw(f"{self._passed} workspaces looked at")

    def packing(self, name: str, amount: int) -> None:
        """That many bytes more of the workspace `name` were packed or compared."""
        if name != self._name:
            self._name, self._bytes = name, 0
        self._bytes += amount
        self._draw(f"archiving {shown(name)}: {size(self._bytes)} read")

    def clear(self) -> None:
        """Take the line away, for others to write there."""
        if self._visible:
            self._err.write("\r\x1b[K")
            self._err.flush()
            self._visible = False

    def _draw(self, text: str) -> None:
        if not self._on or time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = time.monotonic()
        self._err.write(f"\r\x1b[K  {text}")
        self._err.flush()
        self._visible = True


def size(count: int) -> str:
    """`count` bytes for people."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
