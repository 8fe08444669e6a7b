"""Options that many commands share, and how they become settings."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from kubecase.app.settings import Loaded, current_environment, load

SHARED = Group("Shared options", sort_key=90)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Shared:
    """Where the settings and the records are."""

    config: Annotated[Path | None, Parameter(group=SHARED)] = None
    "Settings file. Else KUBECASE_CONFIG, ./kubecase.yaml, /etc/kubecase/kubecase.yaml."

    data_dir: Annotated[Path | None, Parameter(group=SHARED)] = None
    "Directory of the records (kubecase.db, run logs, kept reports)."

    log_level: Annotated[str | None, Parameter(group=SHARED)] = None
    "debug, info, warn or error: what goes into the log file in the data directory."

    def service_settings(self) -> Loaded:
        """Those of the service: run by root, its directories lie in /var/lib/kubecase unless told
        otherwise. Raises SettingsInvalid with every finding.
        """
        return self._loaded({}, service=os.geteuid() == 0)

    def settings(self, **flags: object) -> Loaded:
        """The settings that are in force, flags of the command included.

        `flags` are by dotted key with `__` for the dot; those that are None were not given.
        Raises SettingsInvalid with every finding.
        """
        return self._loaded(flags, service=False)

    def _loaded(self, flags: dict[str, object], *, service: bool) -> Loaded:
        flags |= {
            "store__data_dir": self.data_dir,
            "agent_runtime__log_level": self.log_level,
        }
        given = {key.replace("__", "."): value for key, value in flags.items() if value is not None}
        return load(given, current_environment(), self.config, Path.cwd(), service)


DEFAULT = Shared()

Json = Annotated[bool, Parameter(negative="")]
"""A flag `--json`: the result as JSON on standard output, nothing else there."""
