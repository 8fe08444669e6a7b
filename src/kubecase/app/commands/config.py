"""`kubecase config`: the settings in force, their schema, and an example."""

import json as jsonlib
import sys

from cyclopts import App

from kubecase.app.boundary import SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Json, Shared

app = App(name="config", help="Settings: what is in force, their schema, and an example.")


@app.command
def show(*, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Print every setting with its value and where that came from. Secrets are never printed.

    Parameters
    ----------
    json
        Print JSON: by key, the value and its origin.
    """
    from kubecase.app.settings import effective

    loaded = shared.settings()
    rows = effective(loaded)
    if json:
        print(
            jsonlib.dumps({r.key: {"value": r.value, "origin": r.origin} for r in rows}, indent=2)
        )
    else:
        width = max(len(row.key) for row in rows)
        for row in rows:
            print(printable(f"{row.key:<{width}}  {row.value}  ({row.origin})"))
    for warning in loaded.warnings:
        print(f"kubecase: warning: {printable(warning)}", file=sys.stderr)
    return SUCCESS


@app.command
def schema() -> int:
    """Print the JSON Schema of the settings file, for editors and checks."""
    from kubecase.app.settings import json_schema

    print(jsonlib.dumps(json_schema(), indent=2))
    return SUCCESS


@app.command
def example() -> int:
    """Print a complete settings file with every key, its default and what it means."""
    from kubecase.app.settings import example as example_text

    sys.stdout.write(example_text())
    return SUCCESS
