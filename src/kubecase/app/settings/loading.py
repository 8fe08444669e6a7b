"""From flags, environment and file to checked settings, with every finding at once."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubecase.app.settings import document as documents
from kubecase.app.settings import names
from kubecase.app.settings.document import Document, shown
from kubecase.app.settings.environment import (
    Layer,
    environment_layer,
    host_from,
    outside_value,
)
from kubecase.app.settings.keys import KeyUnusable, choose, read_key_file
from kubecase.app.settings.values import Host, Loaded, Origin
from kubecase.core.errors import SettingsInvalid

if TYPE_CHECKING:
    from kubecase.app.settings.values import SinkSecrets
    from kubecase.core.ports import Credential

FLAGS: Mapping[str, str] = {
    "agent_runtime.max_duration_minutes": "--timeout",
    "agent_runtime.kubeconfig_path": "--kubeconfig",
}
"""Flags that are not called like the last part of their key."""


@dataclass
class Gathered:
    """What the layers say together, before it is checked."""

    host: Host
    cwd: Path
    document: Document | None
    tree: dict[str, Any] = field(default_factory=dict, repr=False)
    origins: dict[str, Origin] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    upstream_keys: dict[str, "Credential"] = field(default_factory=dict, repr=False)
    source_tokens: dict[str, "Credential"] = field(default_factory=dict, repr=False)
    sink_secrets: dict[str, "SinkSecrets"] = field(default_factory=dict, repr=False)

    def finding(self, steps: documents.Steps, what: str, *, of_key: bool = False) -> None:
        """Add what is wrong with the option at `steps`, said where it was set."""
        dotted = ".".join(shown(str(step)) for step in steps)
        origin = self._origin(steps)
        where = f"{origin.detail} " if origin is not None and origin.detail else ""
        if self.document is not None and (origin is None or origin.kind == "file"):
            place = self.document.place(steps, of_key=of_key)
            where = f"{self.document.at(place)} "
        self.findings.append(f"{where}{dotted} - {what}")

    def _origin(self, steps: documents.Steps) -> Origin | None:
        for length in range(len(steps), 0, -1):
            found = self.origins.get(".".join(map(str, steps[:length])))
            if found is not None:
                return found
        return None

    def path(self, key: str, value: str) -> Path:
        """`value` of `key` as an absolute path.

        What a file says is relative to that file's directory, everything else to the working
        directory. Raises ValueError for a `~` that cannot be replaced.
        """
        origin = self.origins.get(key)
        base = self.cwd
        if self.document is not None and origin is not None and origin.kind == "file":
            base = self.cwd / self.document.path.parent
        if value == "~" or value.startswith("~/"):
            if self.host.home is None:
                raise ValueError("begins with ~, and HOME is not set")
            return self.host.home / value[2:]
        if value.startswith("~"):
            raise ValueError("begins with another user's ~; write the path out")
        return base / value


def load(
    argv_overrides: Mapping[str, object],
    environ: Mapping[str, str],
    config_path: Path | None,
    cwd: Path,
    service: bool = False,
) -> Loaded:
    """The settings in force: flags before environment before file before defaults.

    `argv_overrides` is by dotted key, such as `agent_runtime.agent`; values that are `None` were
    not given. `environ` is the only environment that is looked at. With `service` the defaults for
    directories lie in /var/lib/kubecase, else in the user's data directory. `cwd` is absolute.

    Raises SettingsInvalid, one line for each finding, all findings of all layers at once.
    """
    from kubecase.app.settings.checked import settings_from
    from kubecase.app.settings.sink_secrets import sink_secrets
    from kubecase.app.settings.upstream_keys import source_tokens, upstream_keys

    gathered, hint = _gather(argv_overrides, environ, config_path, cwd)
    keys = dict(_model_keys(gathered))
    gathered.upstream_keys.update(upstream_keys(gathered, environ, keys))
    gathered.source_tokens.update(source_tokens(gathered, environ))
    gathered.sink_secrets.update(sink_secrets(gathered, environ))
    settings = settings_from(gathered, keys, service=service)
    if settings is None or gathered.findings:
        raise SettingsInvalid(_message(gathered.findings), hint=hint or _hint(gathered))
    return Loaded(
        settings=settings,
        origins=gathered.origins,
        warnings=tuple(gathered.warnings),
        config_path=gathered.document.path if gathered.document is not None else None,
    )


def _gather(
    overrides: Mapping[str, object], environ: Mapping[str, str], config: Path | None, cwd: Path
) -> tuple[Gathered, str | None]:
    gathered = Gathered(host=host_from(environ), cwd=cwd, document=None)
    hint = None
    found = documents.find(config, environ, cwd)
    if found is not None:
        try:
            gathered.document = documents.read(*found)
        except SettingsInvalid as error:
            gathered.findings.append(str(error))
            hint = error.hint
    if gathered.document is not None:
        gathered.findings += gathered.document.findings
        gathered.warnings += gathered.document.warnings
        _add(gathered, _file_layer(gathered.document))
    known = names.variables()
    layer = environment_layer(environ, known, names.nested(), gathered.tree)
    gathered.warnings += layer.warnings
    _add(gathered, layer)
    _add(gathered, _flag_layer(overrides))
    return gathered, hint


def _file_layer(document: Document) -> Layer:
    layer = Layer()
    # A section without content, `agents:`, is an empty one.
    layer.tree = {key: {} if value is None else value for key, value in document.tree.items()}
    for path, _ in _leaves(layer.tree, ()):
        line = document.place(path, of_key=True).line
        layer.origins[path] = Origin(kind="file", detail=f"{shown(document.path)}:{line}")
    return layer


def _flag_layer(overrides: Mapping[str, object]) -> Layer:
    layer = Layer()
    for key, value in overrides.items():
        if value is None:
            continue
        path = tuple(key.split("."))
        if not names.is_known(path):
            raise ValueError(f"no option is called {key}")
        flag = FLAGS.get(key, f"--{path[-1].replace('_', '-')}")
        given = str(value) if isinstance(value, Path) else value
        text = outside_value(flag, given) if isinstance(given, str) else given
        layer.put(path, text, Origin(kind="flag", detail=flag))
    return layer


def _add(gathered: Gathered, layer: Layer) -> None:
    """Lay `layer` over what was gathered: mappings are merged, everything else replaced."""
    for path, origin in layer.origins.items():
        gathered.origins[".".join(path)] = origin
    _merge(gathered.tree, layer.tree)


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        present = below.get(key)
        if isinstance(value, Mapping) and isinstance(present, dict):
            _merge(present, value)
        else:
            below[key] = dict(value) if isinstance(value, Mapping) else value


def _leaves(tree: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*at, key))
        else:
            yield (*at, key), value


def _model_keys(gathered: Gathered) -> Iterator[tuple[str, "Credential"]]:
    """The model keys that can be had, by the name that CLIs read; the rest is a finding."""
    from kubecase.core.ports import Credential

    section = gathered.tree.get("agent_runtime")
    if not isinstance(section, Mapping):
        return
    for name, variable in names.model_keys().items():
        steps: documents.Steps = ("agent_runtime", name)
        try:
            chosen = choose(f"agent_runtime.{name}", gathered.origins)
            if chosen is None:
                continue
            steps = tuple(chosen.split("."))
            value = section[str(steps[-1])]
            if not isinstance(value, str) or not value.strip():
                continue  # the model says what is wrong with it
            if chosen.endswith("_file"):
                value, warning = read_key_file(gathered.path(chosen, value))
                gathered.warnings += [warning] if warning else []
            elif gathered.origins[chosen].kind == "file":
                _warn_of_key_in_settings(gathered)
        except (KeyUnusable, ValueError) as error:
            gathered.finding(steps, str(error))
            continue
        yield variable, Credential(variable=variable, value=str(value).strip())


def _warn_of_key_in_settings(gathered: Gathered) -> None:
    if gathered.document is not None and gathered.document.readable_by_all:
        path = shown(gathered.document.path)
        warning = f"{path} holds a key and can be read by every user (chmod o-r)"
        if warning not in gathered.warnings:
            gathered.warnings.append(warning)


def _message(findings: list[str]) -> str:
    unique = sorted(dict.fromkeys(findings), key=_in_reading_order)
    if len(unique) == 1:
        return unique[0]
    return "\n".join([f"the settings have {len(unique)} mistakes", *unique])


def _in_reading_order(finding: str) -> tuple[int, int]:
    """Line and column for what stands in a file; the rest after it, in the order found."""
    found = re.match(r".*?:([0-9]+):([0-9]+) ", finding)
    return (int(found[1]), int(found[2])) if found else (sys.maxsize, 0)


def _hint(gathered: Gathered) -> str:
    where = shown(gathered.document.path) if gathered.document is not None else "the environment"
    return (
        f"Correct {where}; `kubecase config example` prints every option, "
        "`kubecase config show` what is in force."
    )


def crash_log(environ: Mapping[str, str], temporary: Path) -> Path:
    """Where the trace of a bug goes: the user's data directory, else `temporary`.

    Works without any settings, since the bug may be in reading them.
    """
    directory = host_from(environ).user_data_dir
    return (directory or temporary / f"kubecase-{os.getuid()}") / "crash.log"
