"""Reports and artifacts: opened by handle, checked against the record, harmless to a browser."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Path, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kubecase.app.web.context import context_of
from kubecase.app.web.documents import READ_ERRORS, errors
from kubecase.app.web.incident_routes import Id
from kubecase.app.web.problems import Problem
from kubecase.app.web.telling import artifact_name
from kubecase.core.errors import KubecaseError
from kubecase.core.model import Artifact, IncidentId
from kubecase.service.conclude import REPORT_NAMES
from kubecase.workspace.artifacts import ARTIFACTS
from kubecase.workspace.handles import CHUNK_BYTES, below, open_regular, root_directory
from kubecase.workspace.names import parts_of

router = APIRouter(prefix="/api/v1/incidents", tags=["files"])

TYPES: Mapping[str, str] = {
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
}
SANDBOX = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""No script, no address, no origin of its own: the page has an inline style and nothing else."""

Attempt = Annotated[int, Path(ge=1, le=1_000_000_000)]

_TEXT = {"schema": {"type": "string"}}
_REPORT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/markdown": _TEXT, "text/html": _TEXT, "application/json": {}}}
}
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}
}


@router.get(
    "/{id}/attempts/{attempt}/report.{kind}", response_class=Response,
    responses={**READ_ERRORS, **_REPORT},
)  # fmt: skip
async def report(
    request: Request, id: Id, attempt: Attempt, kind: Literal["md", "html", "json"]
) -> Response:
    """The final report of an attempt that has ended, as kubecase wrote it."""
    context = context_of(request)
    known = await context.store.status(IncidentId(id), attempt)
    kept = context.settings.store.data_dir / "artifacts" / known.key
    opened = await to_thread.run_sync(_open, kept, REPORT_NAMES[kind])
    headers = {"Content-Security-Policy": SANDBOX if kind == "html" else "sandbox"}
    return OpenedFile(opened, TYPES[kind], headers)


@router.get(
    "/{id}/attempts/{attempt}/artifacts/{path:path}", response_class=Response,
    responses={**errors(404, 409), **_BYTES},
)  # fmt: skip
async def artifact(
    request: Request, id: Id, attempt: Attempt, path: Annotated[str, Path(max_length=4096)]
) -> Response:
    """A file that the agent left, to be kept and never to be shown: it may be anything.

    It is what was collected: one that has changed since is refused.
    """
    known = await context_of(request).store.status(IncidentId(id), attempt)
    for each in known.artifacts:
        if known.workspace is not None and artifact_name(each.path.as_posix()) == path:
            opened = await to_thread.run_sync(_open_collected, known.workspace, path, each)
            name = quote(path.rpartition("/")[2], safe="")
            headers = {
                "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
                "Content-Security-Policy": "sandbox; default-src 'none'",
            }
            return OpenedFile(opened, "application/octet-stream", headers)
    raise Problem(404, "no such artifact is on record for this attempt")


def _open(directory: FilePath, relative: str) -> int:
    """A handle of the file `relative` in `directory`. Raises Problem: 404."""
    try:
        *parents, name = parts_of(relative)
        with root_directory(directory) as top, below(top, parents) as inner:
            return open_regular(name, inner)
    except (OSError, KubecaseError):
        # Whatever stands there instead is nobody's business who asks.
        raise Problem(404, "the file is not there (any more)") from None


def _open_collected(workspace: FilePath, relative: str, recorded: Artifact) -> int:
    """The same, if it is what was collected. Raises Problem: 404 or 409."""
    with ExitStack() as undo:
        handle = _open(workspace / ARTIFACTS, relative)
        undo.callback(os.close, handle)
        if not _is_as_recorded(handle, recorded):
            raise Problem(
                409, "the artifact was changed since it was collected, and is not given out"
            )
        os.lseek(handle, 0, os.SEEK_SET)
        undo.pop_all()
    return handle


def _is_as_recorded(handle: int, recorded: Artifact) -> bool:
    if os.fstat(handle).st_size != recorded.size:
        return False
    digest = hashlib.sha256()
    while piece := os.read(handle, CHUNK_BYTES):
        digest.update(piece)
    return digest.hexdigest() == recorded.sha256


class OpenedFile(Response):
    """The content of an open file, which is closed when it has been sent."""

    def __init__(self, handle: int, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(media_type=media_type, headers=dict(headers))
        self._handle = handle
        self._left = os.fstat(handle).st_size
        self.headers["content-length"] = str(self._left)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as long as it was when it was opened."""
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            while self._left:
                size = min(self._left, CHUNK_BYTES)
                piece = await to_thread.run_sync(os.read, self._handle, size)
                if not piece:
                    return  # cut short meanwhile; the connection is closed, and the reader knows
                self._left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            os.close(self._handle)
