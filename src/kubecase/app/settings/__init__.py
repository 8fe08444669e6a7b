"""Settings: the only reader of the environment, and the door at which values are checked.

Here belong finding and reading kubecase.yaml, the environment and its names, every option with its
type and default, and what is said when one is wrong. Never here: using an option. Importing this
package imports neither pydantic nor the YAML library; `load`, `effective` and the descriptions do.
"""

from pathlib import Path
from typing import Any

from kubecase.app.settings.checks import (
    Finding,
    check_agent_command,
    check_workspace_root,
    require,
)
from kubecase.app.settings.effective import Row, effective
from kubecase.app.settings.environment import current_environment
from kubecase.app.settings.loading import crash_log, load
from kubecase.app.settings.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from kubecase.app.settings.values import (
    PROGRAMS,
    AgentOptions,
    AgentRuntimeSettings,
    ClusterOptions,
    Host,
    Loaded,
    Origin,
    Settings,
    Skill,
    StoreSettings,
)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of kubecase.yaml, with descriptions and defaults."""
    from kubecase.app.settings.describe import json_schema as described

    return described()


def example() -> str:
    """A complete kubecase.yaml: every option with its default or an example, and what it means."""
    from kubecase.app.settings.describe import example as described

    return described()


def reference() -> str:
    """The reference page docs/settings.md, in Markdown."""
    from kubecase.app.settings.describe import reference as described

    return described()


def crash_log_path() -> Path:
    """Where the trace of a bug goes on this host, whatever the settings say."""
    import tempfile

    return crash_log(current_environment(), Path(tempfile.gettempdir()))


__all__ = [
    "PROGRAMS",
    "AgentOptions",
    "AgentRuntimeSettings",
    "ClusterOptions",
    "Finding",
    "Host",
    "Loaded",
    "Origin",
    "Row",
    "Settings",
    "Skill",
    "StoreSettings",
    "check_agent_command",
    "check_workspace_root",
    "crash_log_path",
    "current_environment",
    "effective",
    "example",
    "format_duration",
    "format_size",
    "json_schema",
    "load",
    "parse_duration",
    "parse_size",
    "reference",
    "require",
]
