"""The records of a run: small JSON files that are there whole or not at all."""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def write_record(directory: int, name: str, values: "Mapping[str, object]") -> None:
    """Store `values` as the file `name` of an open directory, mode 0600, durable on return.

    Whoever reads it meanwhile finds the file that was there before, or none. Raises OSError.
    """
    temporary = f".{name}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    handle = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        os.fchmod(handle, 0o600)
        write_all(handle, to_json(values).encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def write_all(handle: int, data: "bytes | bytearray | memoryview") -> None:
    """Every byte of `data`, however small the steps in which the kernel takes them."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def now() -> str:
    """This moment in UTC as RFC 3339 with microseconds."""
    moment = time.time()
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    return f"{whole}.{int(moment % 1 * 1_000_000):06d}Z"


def to_json(value: object) -> str:
    """`value` as JSON in ASCII. The module `json` takes longer to load than the shim to start."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        pairs = (f"{_quoted(str(key))}: {to_json(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(to_json, value)) + "]"
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    if 32 <= code < 127 and character not in '"\\':
        return character
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"
