"""`kubecase serve` as a process of its own, with a client for its HTTP API."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from .conftest import KUBECASE, Home

URL = re.compile(r"HTTP API at (http://\S+),")


@dataclass
class Served:
    """A running service; `url` is where it answers."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    url: str = ""

    def get(self, path: str) -> Any:
        """What the API answers, when it has time for us."""
        while True:
            response = httpx2.get(self.url + path, timeout=20)
            if response.status_code != 429:
                return response.json()
            time.sleep(0.3)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """One POST."""
        return httpx2.post(self.url + path, json=body, headers=headers, timeout=20)

    def fault(self, **changes: Any) -> str:
        """Hand in a fault over HTTP; the id of its incident."""
        fault = {
            "cluster": "dev", "namespace": "shop", "resource": "Pod/api-0",
            "reason": "CrashLoop", "message": "container api exited 1", "severity": "critical",
            **changes,
        }  # fmt: skip
        response = self.post("/api/v1/faults", fault)
        assert response.status_code == 202, response.text
        return str(response.json()["accepted"][0]["incident_id"])

    def said(self, words: str) -> bool:
        """Whether a line on standard error holds `words`."""
        return any(words in line for line in self.lines)

    def incident(self, incident_id: str) -> dict[str, Any]:
        """One incident as the API has it."""
        value = self.get(f"/api/v1/incidents/{incident_id}")
        return {**value, **value["incident"]}

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the service alone."""
        os.kill(self.process.pid, number)

    def ended(self, seconds: float = 60) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(timeout=seconds)


def wait_for(holds: Callable[[], Any], seconds: float = 60) -> Any:
    """What `holds` returns, once that is true."""
    until = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < until, "it never came"
        time.sleep(0.1)


def settings(home: Home, **sections: Mapping[str, Any]) -> Path:
    """A settings file with these sections; HTTP on any free port."""
    whole = {"web": {"listen": "127.0.0.1:0"}, **sections}
    path = home.root / "kubecase.yaml"
    path.write_text(json.dumps(whole))
    return path


@contextmanager
def serving(home: Home, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Served]:
    """The service with the settings in `home`, killed when this is left if it still runs."""
    process = subprocess.Popen(
        [KUBECASE, "serve", "--data-dir", str(home.data), *words],
        cwd=home.root,
        env={
            **home.environment,
            "AGENT_RUNTIME_WORKSPACE_ROOT": str(home.data / "workspaces"),
            **(env or {}),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    served = Served(process)

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            served.lines.append(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        wait_for(lambda: served.said("serving") or process.poll() is not None)
        found = next((m for line in served.lines if (m := URL.search(line))), None)
        served.url = found[1] if found else ""
        yield served
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(10)
