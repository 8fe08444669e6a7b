"""Cases 13 and 15 to 19: fills output/artifacts with everything that a collector may trip over."""

import contextlib
import os
import socket
import sys

os.makedirs("output/artifacts", exist_ok=True)
os.chdir("output/artifacts")


def links() -> None:
    os.symlink("/etc", "etc")
    os.symlink("/proc/self/environ", "environ")
    os.symlink("../" * 12 + "etc/passwd", "chain")
    os.symlink("loop", "loop")
    os.symlink("good", "inner")
    put("good", b"taken")


def hard_links() -> None:
    put("once", b"x" * 1000)
    for number in range(200):
        os.link("once", f"name-{number}")
    with contextlib.suppress(OSError):
        os.link("/etc/hostname", "foreign")
    put("good", b"taken")


def special() -> None:
    os.mkfifo("report.md")
    with contextlib.suppress(OSError):
        # A socket's path is short; so it is bound from where it lies.
        socket.socket(socket.AF_UNIX).bind("socket")
    with contextlib.suppress(OSError):
        os.mknod("device", 0o020666, os.makedev(1, 3))
    os.mkdir("closed", 0o000)
    put("good", b"taken")


def huge() -> None:
    with contextlib.suppress(OSError), open("sparse", "wb") as file:
        file.truncate(1 << 40)  # refused by the limit of a file's size
    for number in range(20_000):
        open(f"n{number:05}", "w").close()


def names() -> None:
    for name in (b"a\nb", b"\xff\xfe", b"\x1b[31mred", b"-rf", b"<img src=x>", b"\xe2\x80\xaertl",
                 b"x" * 255, b"exit", b"started", b"agent.log"):  # fmt: skip
        with contextlib.suppress(OSError):
            put(name, b"n")


def deep() -> None:
    here = os.open(".", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner


def put(name: str | bytes, data: bytes) -> None:
    with open(name, "wb") as file:
        file.write(data)


{f.__name__: f for f in (links, hard_links, special, huge, names, deep)}[sys.argv[1]]()
with open("../investigation.md", "w") as report:
    report.write("# Kubernetes Incident Triage Report\n" + "The api exits 1 since yesterday. " * 5)
