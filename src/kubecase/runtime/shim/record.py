"""The records of a run: small JSON files that are there whole or not at all."""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

RESERVED_BYTES = 4096
ABANDONED = "abandoned"
"""A file in the run directory: whoever took over has given up on a start that never came."""


def write_record(directory: int, name: str, values: "Mapping[str, object]") -> None:
    """Store `values` as the file `name` of an open directory, mode 0600, durable on return.

    Whoever reads it meanwhile finds the file that was there before, or none. Raises OSError.
    """
    record = Reserved(directory, name, size=0)
    try:
        record.write(values)
    finally:
        record.close()


class Reserved:
    """A record whose space is taken before it is known what will stand in it.

    So it can be written on a disk that is full by then, and although somebody else may rename,
    replace and remove what lies in the directory meanwhile. Raises OSError.
    """

    def __init__(self, directory: int, name: str, *, size: int = RESERVED_BYTES) -> None:
        self._directory = directory
        self._name = name
        self._temporary, self._handle = _create(directory, name)
        try:
            write_all(self._handle, b" " * size)
        except OSError:
            self.close()
            raise

    def write(self, values: "Mapping[str, object]") -> None:
        """Put the record in place, whole and durable. Raises OSError."""
        data = to_json(values).encode() + b"\n"
        os.fchmod(self._directory, 0o700)
        if not self._is_in_place():
            os.ftruncate(self._handle, 0)  # its space is for the one that takes its place
            temporary, handle = _create(self._directory, self._name)
            os.close(self._handle)
            self._temporary, self._handle = temporary, handle
        os.lseek(self._handle, 0, os.SEEK_SET)
        write_all(self._handle, data)
        os.ftruncate(self._handle, len(data))
        os.fsync(self._handle)
        _rename(self._directory, self._temporary, self._name)
        self._temporary = ""
        os.fsync(self._directory)

    def close(self) -> None:
        """Let go of it, and of the space if nothing was written."""
        os.close(self._handle)
        if self._temporary:
            try:
                os.unlink(self._temporary, dir_fd=self._directory)
            except OSError:
                pass  # somebody else has removed it, or put something else in its place

    def _is_in_place(self) -> bool:
        ours = os.fstat(self._handle)
        try:
            there = os.stat(self._temporary, dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(ours, there)


def _create(directory: int, name: str) -> tuple[str, int]:
    """A new file beside `name`; nobody can have taken a name that nobody could guess."""
    temporary = f".{name}.{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(temporary, flags, 0o600, dir_fd=directory)
    os.fchmod(handle, 0o600)
    return temporary, handle


def _rename(directory: int, old: str, new: str) -> None:
    """Also over a directory, which is moved aside: a rename replaces anything else by itself."""
    try:
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)
    except IsADirectoryError:
        aside = f".{new}.{os.urandom(8).hex()}"
        os.rename(new, aside, src_dir_fd=directory, dst_dir_fd=directory)
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)


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
