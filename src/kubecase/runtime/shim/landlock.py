"""Landlock by its three system calls: from then on this thread reaches only what was allowed.

It holds for the calling thread and what that starts, so it is done between fork and exec.
"""

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
CONNECT_TCP = 1 << 1

_SINCE = ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
"""From which version of the interface on the kernel knows a right; the others are older."""

_ALL_FILES = (1 << 16) - 1
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_READ = EXECUTE | READ_FILE | READ_DIR
_DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
_BOTH_NETWORK_RIGHTS = 3
_SCOPE_SOCKETS_AND_SIGNALS = 3


def version() -> int:
    """The version of the interface that this kernel offers; 0 if it has none, or it is off."""
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(rules: "Mapping[str, Any]") -> None:
    """Leave this thread what `rules` allow, and nothing else. NO_NEW_PRIVS must be set.

    `read` are paths to read and execute below, `write` those where everything is allowed but the
    making of devices, `devices` those to read and write without more. `ports` are the TCP ports
    that may be connected to; None leaves the network alone. A path that is not there is left out.
    What a kernel does not know is left out too: the version in force is for the record.
    Raises OSError.
    """
    known = version()
    files = _known_rights(known)
    network = _BOTH_NETWORK_RIGHTS if known >= 4 and rules["ports"] is not None else 0
    scope = _SCOPE_SOCKETS_AND_SIGNALS if known >= 6 else 0
    size = 8 if known < 4 else 16 if known < 6 else 24
    attributes = (ctypes.c_uint64 * 3)(files, network, scope)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for name, rights in (("read", _READ), ("write", _writing()), ("devices", _DEVICE)):
            _allow(ruleset, rules[name], rights & files)
        if network:
            for port in rules["ports"]:
                rule = (ctypes.c_uint64 * 2)(CONNECT_TCP, port)
                _call(_ADD_RULE, ruleset, _NET_PORT, ctypes.byref(rule), 0)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _known_rights(known: int) -> int:
    unknown = sum(right for since, right in _SINCE if known < since)
    return _ALL_FILES & ~unknown


def _writing() -> int:
    """Everything but making devices, which no agent needs."""
    make_char, make_block = 1 << 6, 1 << 11
    return _ALL_FILES & ~(make_char | make_block)


def _allow(ruleset: int, paths: "Iterable[bytes]", rights: int) -> None:
    for path in paths:
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # what cannot be reached need not be allowed
        try:
            directory = os.path.isdir(path)
            allowed = rights if directory else rights & _OF_A_FILE
            # The struct is packed: eight bytes of rights, four of a descriptor.
            rule = allowed.to_bytes(8, "little") + handle.to_bytes(4, "little")
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
        finally:
            os.close(handle)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    plain = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *plain)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
