"""The schema, the example file and the reference page, all made from the one model."""

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kubecase.app.settings import names
from kubecase.app.settings.model import Document

Schema = Mapping[str, Any]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

_NAMED = {
    "agents": "claude", "clusters": "production", "models": "company", "budgets": "run",
    "sources": "faults", "sinks": "team",
}  # fmt: skip
_LISTED = {
    "agent_runtime": {"skills": "SkillSection"}, "limits": {"silences": "SilenceSection"},
    "web": {"tokens": "TokenSection"},
}  # fmt: skip
"""Sections that are mappings by name, and the name that examples use."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the settings file.

    `x-environment` lists the variables that set an option, `x-type` says its type in words.
    """
    schema = _tidied(Document.model_json_schema())
    for section, keys in names.sections().items():
        for key in keys:
            option = _properties(schema, section)[key]
            own = option.pop("environment", [])
            option["x-environment"] = [*own, names.generic_name(section, key)]
    for section, keys in names.nested().items():
        schema["properties"][section]["additionalProperties"] = False
        for key in keys:
            option = _properties(schema, section)[key]
            option.pop("environment", None)
            option["x-environment"] = [f"KUBECASE_{section.upper()}__<NAME>__{key.upper()}"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "kubecase",
    }


def _tidied(value: Any) -> Any:
    """`value` without the titles that repeat each name, and with descriptions on one line."""
    if isinstance(value, list):
        return [_tidied(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: " ".join(each.split()) if key == "description" and isinstance(each, str)
        else _tidied(each)
        for key, each in value.items()
        if not (key == "title" and isinstance(each, str))
    }  # fmt: skip


def _section(schema: Schema, section: str) -> dict[str, Any]:
    node: Any = schema["properties"][section]
    if "patternProperties" in node:
        (node,) = node["patternProperties"].values()
    found: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return found


def _properties(schema: Schema, section: str) -> dict[str, Any]:
    properties: dict[str, Any] = _section(schema, section)["properties"]
    return properties


def example() -> str:
    """A settings file with every option: its default, or commented out an example of it."""
    schema = json_schema()
    lines = [
        "# Every option of kubecase.yaml with its default. What has no default is commented out",
        "# with an example: remove the # in front of the key to use it.",
    ]
    for section in Document.model_fields:
        about = schema["properties"][section].get("description")
        lines += ["", *_comment(about or _section(schema, section)["description"], "")]
        if section in _NAMED:
            lines += [f"{section}: {{}}", f"#{section}:", f"#  {_NAMED[section]}:"]
            lines += _commented(_properties(schema, section))
        else:
            lines.append(f"{section}:")
            lines += _example_lines(_properties(schema, section), "  ")
    return "\n".join(lines) + "\n"


def _commented(options: Mapping[str, Any]) -> Iterator[str]:
    for line in _example_lines(options, "    "):
        text = line.lstrip()
        yield "#    " + (text if text.startswith("# ") else text.removeprefix("#"))


def _example_lines(options: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, option in options.items():
        yield from _comment(option["description"], indent)
        if option.get("default") is not None:
            yield f"{indent}{key}: {_yaml(option['default'])}"
        elif "x-example" in option:
            yield f"{indent}#{key}: {option['x-example']}"
        else:
            yield f"{indent}#{key}: ..."


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, 92, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(each) for each in value) + "]"
    return str(value)


def reference() -> str:
    """The page that describes every option: type, default, environment, meaning."""
    schema = json_schema()
    parts = [_PREFACE]
    for section in Document.model_fields:
        about = schema["properties"][section].get("description")
        title = f"{section}.<name>" if section in _NAMED else section
        parts += [f"\n## `{title}`\n", (about or _section(schema, section)["description"]) + "\n"]
        parts += ["| key | type | default | environment | meaning |", "|---|---|---|---|---|"]
        for key, option in _properties(schema, section).items():
            parts.append(_table_row(schema, key, option))
        for listed, model in _LISTED.get(section, {}).items():
            parts += [f"\nEach of `{listed}` has:\n", "| key | type | default | meaning |"]
            parts += ["|---|---|---|---|"]
            for key, option in schema["$defs"][model]["properties"].items():
                row = _table_row(schema, key, {"x-environment": [], **option}).split(" | ")
                parts.append(" | ".join([*row[:3], row[4]]))
    return "\n".join(parts) + "\n"


def _table_row(schema: Schema, key: str, option: Schema) -> str:
    default = option.get("default")
    shown = "-" if default is None else f"`{_yaml(default)}`"
    variables = ", ".join(f"`{name}`" for name in option["x-environment"])
    cells = [f"`{key}`", _type_words(schema, option), shown, variables, option["description"]]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type_words(schema: Schema, option: Schema) -> str:
    """The type in words: `x-type`, the words of an enumeration, or the JSON type."""
    if "x-type" in option:
        return str(option["x-type"])
    if "enum" in option:
        return ", ".join(f"`{each}`" for each in option["enum"])
    if "anyOf" in option:
        return " or ".join(
            _type_words(schema, each) for each in option["anyOf"] if each.get("type") != "null"
        )
    if option.get("type") == "array":
        items = option["items"]
        return "list of mappings" if "$ref" in items else f"list of {_type_words(schema, items)}"
    words = {"string": "text", "integer": "whole number", "boolean": "`true` or `false`"}
    return words.get(str(option["type"]), str(option["type"]))


def write_files(repository: Path) -> tuple[Path, ...]:
    """Write the reference page and the example file into `repository`; returns what was written."""
    texts = {"docs/settings.md": reference(), "configs/agent-runtime.yaml": example()}
    for name, text in texts.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text, encoding="utf-8")
    return tuple(repository / name for name in texts)


_PREFACE = """# Settings

This page and `configs/agent-runtime.yaml` are made from the settings' own schema; change the schema
(`app/settings/model.py`), not the page, and then run `python -m kubecase.app.settings.describe .`
in the repository. `kubecase config schema` prints the schema for editors, `kubecase config example`
a complete file, `kubecase config show` what is in force and where each value came from.

The file is YAML: the one that `--config` names, else `KUBECASE_CONFIG`, else `kubecase.yaml` in the
working directory, else `/etc/kubecase/kubecase.yaml`. A flag beats the environment, the environment
beats the file, the file beats the default. A variable with an empty value sets nothing. An unknown
key in the file is an error, an unknown variable that begins with `AGENT_RUNTIME_` or `KUBECASE_` a
warning. All errors are told at once, with file, line and column or the variable's name.

Durations are written `10m`, `90s`, `1h30m`, or as a plain number of the unit in the key's name
(seconds where it has none). Sizes are written `64MiB`, `1GiB`, `500MB`, or as a plain number of
bytes. Lists in variables are separated by commas or written as JSON. Relative paths in the file are
relative to the file, others to the working directory; `~` is the home directory.

Model keys are never printed. The file of an option that ends in `_file` must be a regular file and
should be readable by its owner only. A key in the environment beats one in the settings file."""


if __name__ == "__main__":
    write_files(Path(sys.argv[1]))
