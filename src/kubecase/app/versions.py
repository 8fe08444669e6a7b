"""Which version of a CLI is installed: asked of the program once, and remembered."""

import json
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubecase.app.settings import Settings

NAME = "program-versions.json"
MOST = 50
_VERSION = re.compile(r"(?<![\w.])v?(\d+(?:\.\d+){1,3}(?:[-+][\w.]{1,30})?)(?![\w.])")


@dataclass(frozen=True, kw_only=True)
class Versions:
    """What programs say of themselves. `file` remembers it by path, size and time of change."""

    file: Path
    path: str
    seconds: float = 10.0

    def of(self, program: str) -> str | None:
        """The version of `program`, an absolute path; None if it does not say one."""
        try:
            stat = Path(program).stat()
        except OSError:
            return None
        key = f"{program} {stat.st_size} {stat.st_mtime_ns}"
        known = self._known()
        if key in known:
            return known[key]
        found = self._ask(program)
        if found is not None:
            self._keep({**known, key: found})
        return found

    def _ask(self, program: str) -> str | None:
        """Without the environment of this process, and in a home that is gone afterwards: even for
        this question most CLIs lay out their directories.
        """
        try:
            with TemporaryDirectory(prefix="kubecase-", ignore_cleanup_errors=True) as home:
                done = subprocess.run(
                    [program, "--version"],
                    env={"PATH": self.path, "HOME": home, "TMPDIR": home},
                    cwd=home,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=self.seconds,
                    check=False,
                )
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = _VERSION.search(done.stdout[:2000].decode("utf-8", "replace"))
        return found[1] if found is not None and done.returncode == 0 else None

    def _known(self) -> dict[str, str]:
        try:
            value = json.loads(self.file.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(value, dict):
            return {}
        return {k: v for k, v in value.items() if isinstance(v, str) and _VERSION.fullmatch(v)}

    def _keep(self, known: dict[str, str]) -> None:
        """Keep the newest; what cannot be kept is asked again."""
        newest = dict(list(known.items())[-MOST:])
        with suppress(OSError):
            temporary = self.file.with_suffix(".new")
            temporary.write_text(json.dumps(newest, indent=2))
            temporary.replace(self.file)


def versions_of(settings: "Settings") -> Versions:
    """What is remembered in the service's own directory."""
    from kubecase.app.wiring import DEFAULT_PATH

    return Versions(
        file=settings.store.data_dir / NAME, path=settings.host.search_path or DEFAULT_PATH
    )
