"""The boundary at the command line: what leaves a command becomes a message and an exit code."""

import json as jsonlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from kubecase.core.errors import KubecaseError

SUCCESS, AGENT_FAILED, OPERATOR, BUG, INTERRUPTED = 0, 1, 2, 3, 130


@contextmanager
def told_to_a_human(
    err: TextIO, crash_log: Callable[[], Path], *, json: bool = False
) -> Iterator[None]:
    """Turn what leaves this block into a message on `err` and an exit code.

    2: the operator can fix it (KubecaseError). 130: interrupted. 3: our bug; the traceback goes to
    `crash_log`, never to the screen. (0 and 1 are the command's own.) A reader that went away, as
    in `kubecase list | head`, is no error. With `json` a KubecaseError is on standard output too.
    """
    try:
        yield
    except KubecaseError as error:
        tell(error, err)
        if json:
            said = {"error": str(error), "hint": error.hint, "exit_code": OPERATOR}
            print(jsonlib.dumps(said, indent=2))
        raise SystemExit(OPERATOR) from None
    except KeyboardInterrupt:
        print("kubecase: interrupted", file=err)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        _give_up_output()
        raise SystemExit(SUCCESS) from None
    except Exception as error:
        where = _write_crash(crash_log())
        print(f"kubecase: this is a bug: {type(error).__name__}: {printable(error)}", file=err)
        print(f"  → Please report it with {where}", file=err)
        raise SystemExit(BUG) from error


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Let what is printed in this block go unread: that the reader left changes no exit code."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_output()


def tell(error: KubecaseError, err: TextIO) -> None:
    """Say `error` and its remedy to a human."""
    print(f"kubecase: {printable(error)}", file=err)
    if error.hint:
        print(f"  → {printable(error.hint)}", file=err)


def printable(value: object) -> str:
    """`value` as text that no terminal acts on: control characters other than newline escaped."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode()
        for c in str(value)
    )


def _write_crash(path: Path) -> str:
    text = traceback.format_exc()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text, errors="backslashreplace")
        path.chmod(0o600)
    except OSError:
        # The bug may be that nothing can be written; then the screen is all there is.
        sys.stderr.write(text)
        return "the text above"
    return str(path)


def _give_up_output() -> None:
    """Keep the interpreter's own flush at exit from complaining about the closed pipe."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
