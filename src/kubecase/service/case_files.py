"""The workspace of a case as the agent's tools see it: context to read, a report to leave."""

import json
import os
from dataclasses import dataclass

from kubecase.core.errors import KubecaseError
from kubecase.core.report import report_from_json
from kubecase.service.case import AGENT_JSON, REPORT
from kubecase.workspace import Workspace

CONTEXT = "context"
MAX_CONTEXT = 2 * 1024 * 1024
MAX_NAMES = 200


@dataclass(frozen=True, kw_only=True)
class WorkspaceFiles:
    """Implements `gateways.tools.CaseFiles` on a workspace, by directory handle throughout."""

    workspace: Workspace

    def names(self) -> tuple[str, ...]:
        """The regular files of context/, sorted."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with self.workspace.opened() as top:
            try:
                handle = os.open(CONTEXT, flags, dir_fd=top)
            except OSError as error:
                raise KubecaseError(f"context/ cannot be read: {error.strerror}") from error
            try:
                with os.scandir(handle) as entries:
                    found = [e.name for e in entries if e.is_file(follow_symlinks=False)]
            finally:
                os.close(handle)
        return tuple(sorted(found)[:MAX_NAMES])

    def read(self, name: str) -> bytes:
        """The file `name` of context/, which may stand before it; raises KubecaseError."""
        plain = name.removeprefix("./").removeprefix(f"{CONTEXT}/")
        if not plain or "/" in plain or plain.startswith(".") or not plain.isprintable():
            raise KubecaseError(f"{name[:80]!a} is no name of a file in context/")
        try:
            return self.workspace.read(f"{CONTEXT}/{plain}", MAX_CONTEXT)
        except FileNotFoundError:
            known = ", ".join(self.names())
            raise KubecaseError(
                f"there is no file {plain[:80]!a} in context/; there are: {known}"
            ) from None

    def write_report(self, markdown: bytes, machine: bytes | None) -> None:
        """Put both where they are taken from; a machine form that does not fit writes nothing."""
        if machine is not None:
            _check(machine)
            self.workspace.replace(AGENT_JSON, machine)
        self.workspace.replace(REPORT, markdown)


def _check(machine: bytes) -> None:
    try:
        value = json.loads(machine)
    except (ValueError, RecursionError):
        raise KubecaseError("report_json is not JSON; nothing was written") from None
    _, findings = report_from_json(value)
    if findings:
        raise KubecaseError(
            "report_json does not fit, and nothing was written: " + "; ".join(findings[:5])
        )
