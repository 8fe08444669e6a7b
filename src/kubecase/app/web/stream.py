"""`GET /api/v1/incidents/{id}/events`: what happens to an incident, as Server-Sent Events."""

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from kubecase.app.web.context import Context, context_of
from kubecase.app.web.documents import READ_ERRORS
from kubecase.app.web.following import Event, Followed, Position
from kubecase.app.web.incident_routes import Id
from kubecase.app.web.problems import FieldError, Problem, busy
from kubecase.core.errors import IncidentUnknown, StoreUnavailable
from kubecase.core.model import IncidentId

POLL_SECONDS = 0.5
QUIET_POLL_SECONDS = 2.0
QUIET_AFTER_SECONDS = 10.0
"""How often is looked for something new: while things happen, and when none has for a while."""

HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 3600.0
RETRY_MILLISECONDS = 2000

router = APIRouter(prefix="/api/v1/incidents", tags=["incidents"])

_EVENTS = {"text/event-stream": {"schema": {"type": "string"}}}


@router.get(
    "/{id}/events", response_class=Response,
    responses={
        **READ_ERRORS,
        200: {
            "description": "Events `decision`, `state`, `transition`, `agent` and at last `end`, "
            "each with its data as JSON; comments in between while nothing happens.",
            "content": _EVENTS,
        },
        204: {"description": "It is over, and all of it was told before Last-Event-ID."},
    },
)  # fmt: skip
async def events(
    request: Request,
    id: Id,
    last: Annotated[
        str | None,
        Header(alias="Last-Event-ID", max_length=4000, description="Go on after that event."),
    ] = None,
) -> Response:
    """What has happened to an incident and what happens from now on, until it is over."""
    context = context_of(request)
    followed = Followed(
        incident_id=IncidentId(id),
        store=context.store,
        settings=context.settings,
        redactor=context.redactor,
        position=_position(last),
    )
    if await followed.is_over() and followed.position.ended:
        # The one answer after which a browser does not come back.
        return Response(status_code=204)
    followed.position.ended = False
    if context.streams >= context.settings.web.max_streams:
        raise busy("too many streams are open", 5)
    return Stream(context, followed)


def _position(given: str | None) -> Position:
    if not given:
        return Position()
    found = Position.parse(given)
    if found is None:
        error = FieldError(
            pointer="header.Last-Event-ID", detail="is not the id of an event of this service"
        )
        raise Problem(400, f"the header Last-Event-ID {error.detail}", errors=[error])
    return found


class Stream(StreamingResponse):
    """One open stream, which is counted as long as it is sent."""

    def __init__(self, context: Context, followed: Followed) -> None:
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(_told(context, followed), media_type="text/event-stream", headers=headers)
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        self._context.streams += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._context.streams -= 1


async def _told(context: Context, followed: Followed) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    begun = busy_at = said_at = time.monotonic()
    while not context.stopping.is_set() and time.monotonic() - begun < LONGEST_SECONDS:
        try:
            found = await followed.new()
        except StoreUnavailable as error:
            context.observer.record("error", error_type="store", error=error)
            return
        except IncidentUnknown:
            return  # forgotten meanwhile
        for event in found:
            yield as_text(event)
        if found:
            busy_at = said_at = time.monotonic()
        if followed.position.ended:
            return
        if followed.more:
            continue
        if time.monotonic() - said_at >= HEARTBEAT_SECONDS:
            said_at = time.monotonic()
            yield ": still here\n\n"
        quiet = time.monotonic() - busy_at > QUIET_AFTER_SECONDS
        with anyio.move_on_after(QUIET_POLL_SECONDS if quiet else POLL_SECONDS):
            await context.stopping.wait()


def as_text(event: Event) -> str:
    """`event` as it is sent; its data is on one line, whatever it holds."""
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(event.data)}\n\n"
