"""The program of the scripted agent. Stand-alone: standard library only, never imported.

    python -I -S scripted_program.py PLAN.json      the plan in a file, the prompt on stdin
    python -I -S scripted_program.py -              the plan on stdin, no prompt

A plan is `{"steps": [...]}`; steps are done in order, and the program ends with 0 after the last.
Paths are relative to the working directory. Signals are named without SIG. Seconds are numbers.

    read_prompt  {to?}                      read stdin to its end, keep a copy in the file `to`
    emit         {lines, interval?, stream?}  print texts or JSON objects, one a line
    sleep        {seconds}
    wait_for     {path, seconds}            until the path exists; exit code 97 if it never does
    ignore       {signals}
    trap         {signal, marker, exit?}    on the signal write the marker; leave if `exit` is given
    spawn        {seconds?, depth?, setsid?, double_fork?, ignore?, pids?, hold_output?}
    write        {path, text?, times?, mode?}   text as UTF-8, `mode` in octal digits
    link         {path, target}             a symbolic link
    fifo         {path}
    mkdir        {path, mode?}
    remove       {path}
    report       {text?, path?}             output/investigation.md
    dump         {to?}                      cwd, argv, env, pid, pgid, sid as one JSON line
    fill_disk    {path, bytes}
    flood        {bytes, stream?, line_bytes?}
    close        {stream}                   stdout or stderr
    kill_self    {signal}
    exit         {code}
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

REPORT = """# Kubernetes Incident Triage Report

## 0. Executive Triage Card
The scripted agent read its prompt and investigated nothing: this report shows the way it takes.

## 3. Root Cause Analysis
H1 (confidence Low): no cause was looked for.
"""

STREAMS = {"stdout": 1, "stderr": 2}
MIB = 1 << 20

Step = dict[str, Any]


def number_of(name: str) -> signal.Signals:
    """The signal called `name`, without SIG."""
    return signal.Signals["SIG" + name]


def write_all(descriptor: int, data: bytes) -> None:
    """Write `data` whole, however small the pieces that the other end takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def place(path: str, data: bytes, *, times: int = 1, mode: str | None = None) -> None:
    """Write a file, creating the directory that it lies in."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.writelines(data for _ in range(times))
    if mode is not None:
        os.chmod(path, int(mode, 8))


def read_prompt(step: Step) -> None:
    """Read standard input to its end."""
    data = sys.stdin.buffer.read()
    if "to" in step:
        place(step["to"], data)


def emit(step: Step) -> None:
    """Print lines, waiting `interval` after each."""
    for line in step["lines"]:
        text = line if isinstance(line, str) else json.dumps(line)
        write_all(STREAMS[step.get("stream", "stdout")], text.encode() + b"\n")
        time.sleep(step.get("interval", 0))


def sleep(step: Step) -> None:
    """Sleep the whole time, also when a trapped signal arrives meanwhile."""
    time.sleep(step["seconds"])


def wait_for(step: Step) -> None:
    """Wait until a path exists."""
    deadline = time.monotonic() + step["seconds"]
    while not os.path.lexists(step["path"]):
        if time.monotonic() > deadline:
            os._exit(97)
        time.sleep(0.01)


def ignore(step: Step) -> None:
    """Ignore signals from now on, in children too."""
    for name in step["signals"]:
        signal.signal(number_of(name), signal.SIG_IGN)


def trap(step: Step) -> None:
    """Leave a marker when the signal arrives."""

    def arrived(_number: int, _frame: FrameType | None) -> None:
        place(step["marker"], step["signal"].encode() + b"\n")
        if "exit" in step:
            os._exit(step["exit"])

    signal.signal(number_of(step["signal"]), arrived)


def spawn(step: Step) -> None:
    """Start a child, which starts a child, `depth` deep; each appends its pid to the file `pids`.

    The next step is done once the deepest has done so.
    """
    ready, told = os.pipe()
    if os.fork() == 0:
        os.close(ready)
        try:
            descend(step, step.get("depth", 1), told)
        finally:
            os._exit(96)
    os.close(told)
    while os.read(ready, 1):
        pass
    os.close(ready)


def descend(step: Step, depth: int, told: int) -> None:
    """What a spawned process does: settle, write its pid, start the next, and stay."""
    if step.get("setsid"):
        os.setsid()
    if step.get("double_fork") and os.fork() != 0:
        os._exit(0)
    ignore({"signals": step.get("ignore", ())})
    if not step.get("hold_output", True):
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
    if "pids" in step:
        os.makedirs(os.path.dirname(step["pids"]) or ".", exist_ok=True)
        with open(step["pids"], "ab") as file:
            file.write(b"%d\n" % os.getpid())
    if depth > 1 and os.fork() == 0:
        descend(step, depth - 1, told)
    # Its reader sees the end of this pipe once every descendant has come this far.
    os.close(told)
    time.sleep(step.get("seconds", 600))
    os._exit(0)


def write(step: Step) -> None:
    """Write a file."""
    data = step.get("text", "").encode()
    place(step["path"], data, times=step.get("times", 1), mode=step.get("mode"))


def link(step: Step) -> None:
    """Make a symbolic link."""
    os.makedirs(os.path.dirname(step["path"]) or ".", exist_ok=True)
    os.symlink(step["target"], step["path"])


def fifo(step: Step) -> None:
    """Make a named pipe."""
    os.makedirs(os.path.dirname(step["path"]) or ".", exist_ok=True)
    os.mkfifo(step["path"])


def mkdir(step: Step) -> None:
    """Make a directory."""
    os.makedirs(step["path"], exist_ok=True)
    if "mode" in step:
        os.chmod(step["path"], int(step["mode"], 8))


def remove(step: Step) -> None:
    """Remove a file, a link or an empty directory."""
    path = step["path"]
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    else:
        os.unlink(path)


def report(step: Step) -> None:
    """Leave a report."""
    place(step.get("path", "output/investigation.md"), step.get("text", REPORT).encode())


def dump(step: Step) -> None:
    """Tell how this process was started."""
    told = {
        "cwd": os.getcwd(), "argv": sys.argv, "env": dict(os.environ), "pid": os.getpid(),
        "ppid": os.getppid(), "pgid": os.getpgid(0), "sid": os.getsid(0),
    }  # fmt: skip
    if "to" in step:
        place(step["to"], json.dumps(told).encode())
    else:
        emit({"lines": [told]})


def fill_disk(step: Step) -> None:
    """Write a file piece by piece; go on quietly when the disk refuses."""
    place(step["path"], b"")
    left = step["bytes"]
    with open(step["path"], "wb", buffering=0) as file:
        try:
            while left > 0:
                left -= file.write(b"x" * min(left, MIB)) or 0
        except OSError as error:
            emit({"lines": [f"disk refused: {error.strerror}"], "stream": "stderr"})


def flood(step: Step) -> None:
    """Print as fast as it is taken; a `line_bytes` of 0 gives one endless line."""
    size = step.get("line_bytes", 1000)
    piece = b"y" * (size - 1) + b"\n" if size else b"y" * 65536
    left = step["bytes"]
    while left > 0:
        write_all(STREAMS[step.get("stream", "stdout")], piece[:left])
        left -= len(piece)


def close(step: Step) -> None:
    """Close an output stream."""
    os.close(STREAMS[step["stream"]])


def kill_self(step: Step) -> None:
    """Die by a signal."""
    os.kill(os.getpid(), number_of(step["signal"]))


def leave(step: Step) -> None:
    """End at once."""
    os._exit(step["code"])


STEPS: dict[str, Callable[[Step], None]] = {
    "read_prompt": read_prompt, "emit": emit, "sleep": sleep, "wait_for": wait_for,
    "ignore": ignore, "trap": trap, "spawn": spawn, "write": write, "link": link, "fifo": fifo,
    "mkdir": mkdir, "remove": remove, "report": report, "dump": dump, "fill_disk": fill_disk,
    "flood": flood, "close": close, "kill_self": kill_self, "exit": leave,
}  # fmt: skip


def main(argv: list[str]) -> int:
    """Do the steps of the plan that `argv` names."""
    if len(argv) != 2:
        sys.stderr.write("usage: scripted_program.py PLAN.json|-\n")
        return 2
    if argv[1] == "-":
        plan = json.load(sys.stdin.buffer)
    else:
        with open(argv[1], "rb") as file:
            plan = json.load(file)
    for step in plan["steps"]:
        STEPS[step["do"]](step)
    return 0


if __name__ == "__main__":
    # A reader that has gone away ends this program as it ends any other: by SIGPIPE.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv))
