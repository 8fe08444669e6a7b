"""The environment of the process: what is read from it, and under which names."""

import difflib
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from kubecase.app.settings.values import Host, Origin

# Shells, and Kubernetes for a Service of such a name, set these; they are no one's mistake.
_NOT_OURS = re.compile(
    r"(KUBECASE|AGENT_RUNTIME)_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)?)"
)
# Read elsewhere by agreement: by `load` itself, and by agents that run inside a case.
_KNOWN = ("KUBECASE_CONFIG", "KUBECASE_DEADLINE")

LOGIN_VARIABLES = (
    "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX",
    "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA",
)  # fmt: skip
"""What makes a CLI use another log-in than a key."""

ENGINE_VARIABLES = (
    "HOME", "XDG_RUNTIME_DIR", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF",
    "CONTAINER_HOST", "DOCKER_HOST", "DOCKER_CONFIG",
)  # fmt: skip
"""What leads the client of a container engine to its engine."""

PLAIN_SECONDS = frozenset({"AGENT_RUNTIME_MAX_DURATION", "--timeout"})
"""Names under which a plain number is seconds, although the key's own unit is another."""

_PLAIN_NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]+)?\s*")


class FromOutside(str):
    """Text from the environment or the command line: types are read from it, not expected of it."""

    __slots__ = ()

    def split_list(self) -> list[Any]:
        """The items: a JSON list, or texts between commas that stand in no parentheses."""
        if self.lstrip().startswith("["):
            try:
                items = json.loads(self)
            except ValueError:
                raise ValueError("is not a JSON list") from None
            return list(items)
        parts = re.findall(r"(?:\([^()]*\)|[^,(])+", self)
        return [FromOutside(part.strip()) for part in parts if part.strip()]

    def split_command(self) -> list[str]:
        """Program and arguments, split as a shell would; nothing is expanded."""
        try:
            return shlex.split(self)
        except ValueError:
            raise ValueError("has a quotation mark that is not closed") from None


def current_environment() -> dict[str, str]:
    """The environment of this process. The only place in kubecase that looks at it."""
    return dict(os.environ)


def host_from(environ: Mapping[str, str]) -> Host:
    """PATH, HOME, LANG and the user's data directory as `environ` has them."""
    from pathlib import Path

    home = Path(environ.get("HOME") or "")
    known_home = home if home.is_absolute() else None
    data = Path(environ.get("XDG_DATA_HOME") or "")
    # The base directory specification: a relative path is to be ignored.
    base = data if data.is_absolute() else known_home and known_home / ".local" / "share"
    server = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    return Host(
        api_server=(server[0], server[1]) if server[0] and server[1] else None,
        search_path=environ.get("PATH") or os.defpath,
        home=known_home,
        language=environ.get("LANG") or "C.UTF-8",
        user_data_dir=base and base / "kubecase",
        login_variables=frozenset(name for name in LOGIN_VARIABLES if environ.get(name)),
        engine_variables={name: environ[name] for name in ENGINE_VARIABLES if environ.get(name)},
    )


def outside_value(name: str, text: str) -> FromOutside:
    """`text` as given under `name`, a plain number of seconds marked as such where it is one."""
    marked = name in PLAIN_SECONDS and _PLAIN_NUMBER.fullmatch(text)
    return FromOutside(f"{text.strip()}s" if marked else text)


class Layer:
    """Values of one origin, as a tree like the document's, and where each of them came from."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.origins: dict[tuple[str, ...], Origin] = {}
        self.warnings: list[str] = []

    def put(self, path: tuple[str, ...], value: object, origin: Origin) -> None:
        """Set the value at `path` unless it is set already."""
        if path in self.origins:
            return
        branch = self.tree
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = value
        self.origins[path] = origin


def environment_layer(
    environ: Mapping[str, str],
    names: Mapping[str, tuple[str, ...]],
    nested: Mapping[str, frozenset[str]],
    document: Mapping[str, Any],
) -> Layer:
    """What `environ` sets, and a warning for each name that looks like ours and is not.

    `names` has the key of every variable, more specific names first; an empty value sets nothing.
    `nested` has the keys that stand below a name, by section. `document` is the file's tree: the
    variable of such a key finds the name there whatever its case, and with `-` or `.` where a
    variable can only have `_`.
    """
    layer = Layer()
    for name, path in names.items():
        if environ.get(name):
            _warn_of_two(layer, path, name, environ)
            origin = Origin(kind="environment", detail=name)
            layer.put(path, outside_value(name, environ[name]), origin)
    for name in sorted(environ):
        if (
            name in names
            or not environ[name]
            or not name.startswith(("KUBECASE_", "AGENT_RUNTIME_"))
        ):
            continue
        found = _nested(name, nested, document)
        if found is not None:
            origin = Origin(kind="environment", detail=name)
            layer.put(found, FromOutside(environ[name]), origin)
        elif name not in _KNOWN and not _NOT_OURS.fullmatch(name):
            layer.warnings.append(_unknown(name, [*names, *_KNOWN]))
    return layer


def _warn_of_two(
    layer: Layer, path: tuple[str, ...], name: str, environ: Mapping[str, str]
) -> None:
    first = layer.origins.get(path)
    if first is not None and environ[first.detail] != environ[name]:
        layer.warnings.append(f"{first.detail} and {name} differ; {first.detail} is used")


def _nested(
    name: str, nested: Mapping[str, frozenset[str]], document: Mapping[str, Any]
) -> tuple[str, ...] | None:
    parts = name.removeprefix("KUBECASE_").lower().split("__")
    if not name.startswith("KUBECASE_") or len(parts) != 3:
        return None
    section, given, key = parts
    if not given or key not in nested.get(section, ()):
        return None
    known = document.get(section)
    for each in known if isinstance(known, Mapping) else ():
        if re.sub(r"[-.]", "_", str(each)).lower() == given:
            return (section, str(each), key)
    return (section, given, key)


def _unknown(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    shown = ascii(name)[1:-1]
    return f"{shown} is no variable that kubecase reads" + (
        f" (did you mean {near}?)" if near else ""
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is most like `word`, if any is like it at all."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return close[0] if close else None
