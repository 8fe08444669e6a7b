"""Finding and reading kubecase.yaml, with the place of every key in it.

The file is composed into nodes rather than loaded into objects: every duplicate key is then a
finding with its place, nothing is constructed that a tag asks for, and aliases cannot multiply.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubecase.core.errors import SettingsInvalid

FILE_NAME = "kubecase.yaml"
SYSTEM_DIRECTORY = Path("/etc/kubecase")
MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20

_TAGS = frozenset({"null", "bool", "int", "float", "str", "timestamp"})

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A line and a column of a file, both counted from 1."""

    line: int
    column: int


@dataclass
class Document:
    """A file's content as plain values, and where each key and value stands.

    `findings` are complete lines `path:line:column ...` for what is wrong with the YAML itself.
    """

    path: Path
    tree: dict[str, Any] = field(default_factory=dict, repr=False)
    keys: dict[Steps, Place] = field(default_factory=dict)
    values: dict[Steps, Place] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    readable_by_all: bool = False

    def place(self, steps: Steps, *, of_key: bool) -> Place:
        """Where `steps` stands; where it does not, its nearest parent that does."""
        first, second = (self.keys, self.values) if of_key else (self.values, self.keys)
        for length in range(len(steps), 0, -1):
            found = first.get(steps[:length]) or second.get(steps[:length])
            if found is not None:
                return found
        return Place(1, 1)

    def at(self, place: Place) -> str:
        """`place` as `path:line:column`."""
        return f"{shown(self.path)}:{place.line}:{place.column}"


def shown(path: Path | str) -> str:
    """`path` for a message: what is not printable is escaped."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]


def find(flag: Path | None, environ: Mapping[str, str], cwd: Path) -> tuple[Path, str] | None:
    """The settings file to read and who named it; `None` if nobody did and none lies about.

    In this order: `--config`, KUBECASE_CONFIG, `kubecase.yaml` in `cwd`, then in /etc/kubecase. A
    file that was named must exist; that is found out when it is read.
    """
    if flag is not None:
        return cwd / flag, "--config"
    named = environ.get("KUBECASE_CONFIG")
    if named:
        return cwd / named, "KUBECASE_CONFIG"
    for directory in (cwd, SYSTEM_DIRECTORY):
        if os.path.lexists(directory / FILE_NAME):
            return directory / FILE_NAME, "found"
    return None


def read(path: Path, named_by: str) -> Document:
    """The document at `path`; what is wrong inside it is in its findings.

    Raises SettingsInvalid when there is nothing that could be looked into: no such file, not a
    regular file, unreadable, over 1 MiB, not UTF-8.
    """
    document = Document(path=path)
    text = _text(document, named_by)
    _compose(document, text)
    return document


class NotRegular(Exception):
    """What is at a path is something else than a regular file; the text says what."""


def read_regular(path: Path, limit: int) -> tuple[bytes, int]:
    """The first `limit` bytes of the regular file at `path`, and its mode.

    Links are followed: Kubernetes mounts ConfigMaps and Secrets as links. Raises NotRegular, or
    what the system says.
    """
    # Non-blocking, or a FIFO in the working directory would hold up every command.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise NotRegular("a directory" if stat.S_ISDIR(mode) else "not a regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(limit), mode
    finally:
        os.close(handle)


def _text(document: Document, named_by: str) -> str:
    path = document.path
    name = shown(path)
    hint = f"{named_by} names this file." if named_by != "found" else "Correct or remove the file."
    try:
        content, mode = read_regular(path, MAX_BYTES + 1)
    except NotRegular as error:
        raise SettingsInvalid(f"cannot read {name}: it is {error}", hint=hint) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise SettingsInvalid(f"cannot read {name}: {why}", hint=hint) from error
    if mode & stat.S_IWOTH:
        document.warnings.append(f"{name} can be changed by every user of this host")
    document.readable_by_all = bool(mode & stat.S_IROTH)
    if len(content) > MAX_BYTES:
        raise SettingsInvalid(f"cannot read {name}: it is larger than 1 MiB", hint=hint)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsInvalid(f"{name}:{line} is not UTF-8 text", hint=hint) from error


def _compose(document: Document, text: str) -> None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.nodes import MappingNode

    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        document.findings.append(_broken(document, error))
        return
    except (YAMLError, RecursionError, ValueError) as error:
        why = " ".join(str(error).split())[:200] or "nested too deeply"
        document.findings.append(f"{shown(document.path)}:1:1 is not valid YAML - {why!a}")
        return
    if root is None or (root.tag or "").endswith(":null"):
        return
    if not isinstance(root, MappingNode):
        place = Place(root.start_mark.line + 1, root.start_mark.column + 1)
        document.findings.append(
            f"{document.at(place)} is not a settings file - its top level must be a mapping of "
            "sections such as `agent_runtime:`"
        )
        return
    document.tree = _Reader(document, yaml.constructor).mapping(root, ())


def _broken(document: Document, error: Any) -> str:
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)
    problem = " ".join(str(error.problem or error.context or "syntax error").split())[:200]
    if "'\\t'" in problem:
        problem += "; indent with blanks, not with tabs"
    if "another document" in f"{problem} {error.context}":
        problem = "the file holds more than one YAML document"
    return f"{document.at(place)} is not valid YAML - {problem}"


class _Reader:
    """Turns nodes into plain values and notes where they stand."""

    def __init__(self, document: Document, constructor: Any) -> None:
        self.document = document
        self.constructor = constructor
        self.seen: set[int] = set()

    def value(self, node: Any, steps: Steps) -> Any:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        self.document.values[steps] = _place(node)
        if isinstance(node, MappingNode | SequenceNode):
            # An alias is the same node again; without them nothing can multiply or loop.
            if id(node) in self.seen:
                self._finding(node, "repeats another part by an alias; write it out")
                return None
            self.seen.add(id(node))
            if len(steps) > MAX_DEPTH:
                self._finding(node, "is nested too deeply")
                return None
        if isinstance(node, MappingNode):
            return self.mapping(node, steps)
        if isinstance(node, SequenceNode):
            return [self.value(each, (*steps, n)) for n, each in enumerate(node.value)]
        return self._scalar(node)

    def mapping(self, node: Any, steps: Steps) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node.value, str) else None
            if key is None:
                self._finding(key_node, "is not a plain key")
                continue
            at = (*steps, key)
            if key in tree:
                first = self.document.keys[at]
                dotted = shown(".".join(map(str, at)))
                self._finding(
                    key_node, f"{dotted} - stands here a second time (first: line {first.line})"
                )
                continue
            self.document.keys[at] = _place(key_node)
            tree[key] = self.value(value_node, at)
        return tree

    def _scalar(self, node: Any) -> Any:
        tag = str(node.tag)
        if tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
            self._finding(node, "has a tag that kubecase does not know")
            return None
        if tag.endswith((":null", ":bool", ":int", ":float")):
            try:
                return self.constructor.construct_object(node)
            except (ValueError, TypeError, LookupError):
                self._finding(node, "is not a value that its tag promises")
                return None
        # Text, and what YAML would make a date of: an option of that type does not exist.
        return str(node.value)

    def _finding(self, node: Any, what: str) -> None:
        self.document.findings.append(f"{self.document.at(_place(node))} {what}")


def _place(node: Any) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
