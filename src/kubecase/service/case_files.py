"""The workspace of a case as the agent's tools see it: context to read, a report to leave."""

import os
from dataclasses import dataclass

from kubecase.core.errors import KubecaseError
from kubecase.service.case import AGENT_JSON, REPORT
from kubecase.workspace import Workspace

CONTEXT = "context"
SKILLS = "skills"
COPIES = ".claude/skills"
MAX_CONTEXT = 2 * 1024 * 1024
MAX_NAMES = 200
MAX_SKILL_NAMES = 400


@dataclass(frozen=True, kw_only=True)
class WorkspaceFiles:
    """Implements `gateways.tools.CaseFiles` on a workspace, by directory handle throughout."""

    workspace: Workspace

    def names(self) -> tuple[str, ...]:
        """The regular files of context/, sorted; then those of skills, as `skills/NAME/...`."""
        return (*self._context(), *self._of_skills())

    def _of_skills(self) -> tuple[str, ...]:
        try:
            found = self.workspace.files_below(COPIES, most=MAX_SKILL_NAMES)
        except KubecaseError:  # the agent's own doing: it had them
            return ()
        return tuple(f"{SKILLS}/{each}" for each in found)

    def _context(self) -> tuple[str, ...]:
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
        """The file `name` of context/, which may stand before it, or of a skill; raises
        KubecaseError.
        """
        wanted = name.removeprefix("./").removeprefix(".claude/")
        if wanted.startswith(f"{SKILLS}/"):
            return self._of_skill(wanted.removeprefix(f"{SKILLS}/"))
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

    def _of_skill(self, path: str) -> bytes:
        parts = path.split("/")
        if len(path) > 200 or not path.isprintable() or any(p.startswith(".") for p in parts):
            raise KubecaseError(f"{path[:80]!a} is no name of a file of a skill")
        try:
            return self.workspace.read(f"{COPIES}/{path}", MAX_CONTEXT)
        except FileNotFoundError:
            known = ", ".join(self._of_skills())
            raise KubecaseError(
                f"there is no file {path[:80]!a} of a skill; there are: {known or 'none'}"
            ) from None

    def write_report(self, markdown: bytes, machine: bytes | None) -> None:
        """Put both where they are taken from; without a machine form an earlier one stays."""
        if machine is not None:
            self.workspace.replace(AGENT_JSON, machine)
        self.workspace.replace(REPORT, markdown)
