"""What the walls are made of: the system call filter, Landlock, and what a program needs inside."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adversaries import command
from kubecase.runtime import seccomp
from kubecase.runtime.landlock import OF_ETC
from kubecase.runtime.reachable import is_of_the_system, reachable_paths
from kubecase.runtime.shim import landlock

TRIES = """
import ctypes, errno, json, os, socket, sys, threading
from kubecase.runtime import seccomp
from kubecase.runtime.shim.confine import _filter_calls
from kubecase.runtime.shim.kernel import PR_SET_NO_NEW_PRIVS, prctl
prctl(PR_SET_NO_NEW_PRIVS, 1)
_filter_calls(seccomp.program(sys.argv[1]))
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *(ctypes.c_long(each) for each in arguments))
    return "ok" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")
def made(*kind):
    try:
        socket.socket(*kind).close()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
out = {
    "ptrace": call(101, 0, 0, 0, 0), "unshare": call(272, 0x10000000), "setns": call(308, 0, 0),
    "mount": call(165, 0, 0, 0, 0, 0), "bpf": call(321, 0, 0, 0), "keyctl": call(250, 0, 0),
    "io_uring": call(425, 1, 0), "process_vm_readv": call(310, os.getpid(), 0, 0, 0, 0, 0),
    "clone3": call(435, 0, 0), "namespaces by clone": call(56, 0x10000000 | 17, 0, 0, 0, 0),
    "device": call(259, -100, 0, 0o020666, 0), "getpid": call(39),
    "tiocsti": call(16, 0, 0x5412, 0),
    "tcp": made(socket.AF_INET, socket.SOCK_STREAM), "udp": made(socket.AF_INET, socket.SOCK_DGRAM),
    "tcp6": made(socket.AF_INET6, socket.SOCK_STREAM), "unix": made(socket.AF_UNIX),
    "raw": made(socket.AF_INET, socket.SOCK_RAW), "vsock": made(socket.AF_VSOCK),
    "packet": made(socket.AF_PACKET, socket.SOCK_RAW),
    "netlink": made(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "netlink audit": made(socket.AF_NETLINK, socket.SOCK_RAW, 9),
}
pair = socket.socketpair()
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
child = os.fork()
if child == 0:
    os._exit(7)
out["fork"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(out))
"""

REFUSED = (
    "ptrace", "unshare", "setns", "mount", "bpf", "keyctl", "io_uring", "process_vm_readv",
    "namespaces by clone", "device", "tiocsti",
)  # fmt: skip


def tried(network: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", TRIES, network], capture_output=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers tried are those of x86-64")
@pytest.mark.parametrize("network", ["none", "host"])
def test_what_no_agent_needs_is_refused(network: str) -> None:
    """Namespaces, mounts, tracing, BPF, keys, io_uring and devices are refused; threads and
    children work as before.
    """
    found = tried(network)

    assert {name: found[name] for name in REFUSED} == dict.fromkeys(REFUSED, "EPERM")
    # So that the C library takes the older call, whose flags can be looked at.
    assert found["clone3"] == "ENOSYS"
    assert (found["getpid"], found["fork"]) == ("ok", 7)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers tried are those of x86-64")
@pytest.mark.parametrize(
    ("network", "allowed"),
    [("none", {"tcp", "tcp6"}), ("host", {"tcp", "tcp6", "udp", "unix", "netlink"})],
)
def test_sockets_follow_the_network(network: str, allowed: set[str]) -> None:
    """A closed network has TCP sockets only; an open one also datagrams and local sockets, never
    raw ones (case 25).
    """
    found = tried(network)

    kinds = ("tcp", "tcp6", "udp", "unix", "raw", "vsock", "packet", "netlink", "netlink audit")
    assert {name for name in kinds if found[name] == "ok"} == allowed
    assert {found[name] for name in kinds if name not in allowed} == {"EACCES"}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_is_whole(machine: str) -> None:
    """Every jump stays inside the program, and the program within what the kernel takes."""
    code = seccomp.program("none", machine=machine)

    count = len(code) // 8
    assert len(code) % 8 == 0
    assert count < 4096
    for at in range(count):
        test, yes, no = code[at * 8] & 0x07, code[at * 8 + 2], code[at * 8 + 3]
        if test == 0x05:
            assert at + 1 + max(yes, no) < count


def test_a_machine_whose_numbers_are_not_known_has_no_filter() -> None:
    """Rather none than one with the numbers of another machine."""
    with pytest.raises(ValueError, match="no system call numbers"):
        seccomp.program("none", machine="m68k")


LANDLOCKED = """
import json, os, signal, socket, sys
from kubecase.runtime.shim.kernel import PR_SET_NO_NEW_PRIVS, prctl
from kubecase.runtime.shim.landlock import restrict
inside, outside, port, other, parent = sys.argv[1:]
prctl(PR_SET_NO_NEW_PRIVS, 1)
restrict({"read": [b"/usr"], "write": [inside.encode()], "devices": [b"/dev/null"],
          "ports": [int(port)]})
def tried(do):
    try:
        do()
        return "ok"
    except OSError as error:
        return error.errno
def connect(to):
    with socket.socket() as made: made.connect(("127.0.0.1", int(to)))
print(json.dumps({
    "read outside": tried(lambda: open(outside + "/secret").read()),
    "write outside": tried(lambda: open(outside + "/new", "w")),
    "truncate outside": tried(lambda: os.truncate(outside + "/secret", 0)),
    "link out": tried(lambda: os.link(outside + "/secret", inside + "/link")),
    "write inside": tried(lambda: open(inside + "/new", "w").write("x")),
    "read system": tried(lambda: os.listdir("/usr")),
    "null": tried(lambda: open("/dev/null", "w").write("x")),
    "allowed port": tried(lambda: connect(port)), "other port": tried(lambda: connect(other)),
    "signal": tried(lambda: os.kill(int(parent), 0)),
    "environment": tried(lambda: open(f"/proc/{parent}/environ").read()),
}))
"""


@pytest.mark.skipif(landlock.version() < 6, reason="this kernel's Landlock knows no scopes")
def test_landlock_leaves_what_was_allowed_and_nothing_else(tmp_path: Path) -> None:
    """Files outside, other ports, and processes outside are closed; the rest works."""
    import socket

    inside, outside = tmp_path / "in", tmp_path / "out"
    for directory in (inside, outside):
        directory.mkdir()
    (outside / "secret").write_text("s")
    with socket.socket() as door, socket.socket() as other:
        for each in (door, other):
            each.bind(("127.0.0.1", 0))
            each.listen()
        ports = (str(door.getsockname()[1]), str(other.getsockname()[1]))
        done = subprocess.run(
            [sys.executable, "-c", LANDLOCKED, inside, outside, *ports, str(os.getpid())],
            capture_output=True,
        )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)

    good = {"write inside", "read system", "null", "allowed port"}
    assert {name for name, how in found.items() if how == "ok"} == good
    assert (outside / "secret").read_text() == "s"


def test_a_program_brings_what_it_needs_and_no_more(tmp_path: Path) -> None:
    """A script brings its interpreter, an interpreter its library, a package its tree; a home
    directory is never let in as a whole.
    """
    home = tmp_path / "home"
    for directory in ("bin", "lib", "documents", "lib/node_modules/agent"):
        (home / directory).mkdir(parents=True)
    interpreter = home / "bin" / "runs"
    interpreter.write_bytes(b"\x7fELF")
    script = home / "bin" / "agent"
    script.write_text(f"#!{interpreter} -x\n")
    packaged = home / "lib/node_modules/agent/cli.js"
    packaged.write_text("#!/usr/bin/env node\n")
    (home / "bin" / "link").symlink_to("../lib/node_modules/agent/cli.js")
    for program in (interpreter, script, packaged):
        program.chmod(0o755)

    brought = set(reachable_paths(command((str(script),), tmp_path)))
    assert brought == {script, interpreter, home / "lib"}
    brought = set(reachable_paths(command((str(home / "bin" / "link"),), tmp_path)))
    assert {home / "bin" / "link", packaged, home / "lib/node_modules"} <= brought
    assert home not in brought
    assert home / "documents" not in brought


def test_a_virtual_environment_brings_the_real_python() -> None:
    """The interpreter of these tests finds its library inside."""
    brought = reachable_paths(command((sys.executable,), Path("/")))

    real = Path(sys.executable).resolve()
    assert is_of_the_system(real) or real in brought
    assert Path(sys.prefix) not in brought


def test_a_program_that_is_not_there_brings_nothing(tmp_path: Path) -> None:
    """What cannot be found is left to the start, which says so."""
    assert reachable_paths(command(("no-such-agent",), tmp_path)) == ()


def test_no_key_beside_certificates_is_let_in() -> None:
    """Of /etc only what is no secret can be read in a sandbox."""
    assert Path("/etc/ssl/certs") in OF_ETC
    for secret in ("/etc/shadow", "/etc/ssl", "/etc/ssl/private", "/etc/sudoers", "/etc/pki"):
        assert Path(secret) not in OF_ETC
