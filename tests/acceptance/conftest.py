"""The installed command in a home of its own, and agents written on the spot."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

KUBECASE = Path(sys.executable).with_name("kubecase")
KINDS = ("md", "html", "json")
REPORT = "# Kubernetes Incident Triage Report\n\nThe api exits 1 since a table is missing. " * 3


@dataclass(frozen=True, kw_only=True)
class Home:
    """A machine of somebody's own: nothing on it but what a test puts there."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the command is started with; coverage of child processes passes through."""
        kept = {k: v for k, v in os.environ.items() if k.startswith(("COVERAGE", "COV_"))}
        return {
            **kept,
            "PATH": f"{KUBECASE.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
        }

    @property
    def data(self) -> Path:
        return self.root / ".local/share/kubecase"

    def start(self, *words: str, env: Mapping[str, str] | None = None, **more: Any) -> Any:
        """The command, started with `words`."""
        return subprocess.Popen(
            [KUBECASE, *words],
            cwd=self.root,
            env={**self.environment, **(env or {})},
            stdin=more.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """The command, run to its end with `words`."""
        return subprocess.run(
            [KUBECASE, *words],
            cwd=self.root,
            env={**self.environment, **(env or {})},
            input=stdin,
            capture_output=True,
            timeout=90,
        )

    def result(self, *words: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """The exit code and the AgentResult of `investigate --json`."""
        done = self.run("investigate", *words, "--json", **more)
        assert done.stdout, done.stderr.decode()
        value = json.loads(done.stdout)
        assert isinstance(value, dict)
        return done.returncode, value

    def fault(self, **changes: Any) -> Path:
        """A fault file like those people write."""
        fault = {
            "cluster": "dev",
            "namespace": "shop",
            "resource": "Pod/api-0",
            "reason": "CrashLoop",
            "message": "container api exited 1",
            "severity": "critical",
            **changes,
        }
        path = self.root / "fault.json"
        path.write_text(json.dumps(fault))
        return path

    def agent(self, program: str) -> Path:
        """An executable agent that holds `program`, a shell script."""
        path = self.root / "agent"
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
        return path

    def processes_below(self) -> list[str]:
        """The command lines of all processes whose working directory lies in this home."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                where = os.readlink(entry / "cwd")
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if where.startswith(f"{self.root}/") and words:
                found.append(words)
        return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with nothing in it."""
    return Home(root=tmp_path)


@pytest.fixture
def leaves_report() -> str:
    """The lines of an agent that leaves a report."""
    return f"cat >/dev/null\nprintf '%s' '{REPORT}' >output/investigation.md"


@pytest.fixture
def reports_exist() -> Callable[[dict[str, Any]], None]:
    """A check that a result's three final reports are there and agree with it."""

    def check(result: dict[str, Any]) -> None:
        paths = {kind: Path(result["reports"][kind]) for kind in KINDS}
        for path in paths.values():
            assert path.stat().st_size > 300, path
        machine = json.loads(paths["json"].read_text())
        assert machine["result"]["status"] == result["status"]
        assert machine["result"]["reason"] == result["reason"]
        assert result["status"] in paths["md"].read_text()
        assert "<!doctype html>" in paths["html"].read_text().lower()

    return check
