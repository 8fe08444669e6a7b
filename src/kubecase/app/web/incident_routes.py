"""Incidents: pages of them, one with all that is on record, and what may be done with one."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from kubecase.app.web.backend import Acted, Feedback, Outcome
from kubecase.app.web.bodies import read_body, require_type
from kubecase.app.web.context import context_of
from kubecase.app.web.documents import FEEDBACK_BODY, OPERATE_ERRORS, READ_ERRORS
from kubecase.app.web.mapping import wrong
from kubecase.app.web.paging import cursor_after, position_of, unusable, utc
from kubecase.app.web.problems import FieldError, Problem
from kubecase.app.web.shapes import ActedShape, FeedbackShape, PageShape, StoryShape
from kubecase.app.web.telling import incident_as_json, whole_story
from kubecase.core.model import IncidentId, IncidentState, Status
from kubecase.core.severity import Severity
from kubecase.store.searching import Search

UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
RFC_3339 = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$"
MAX_PAGE = 200

router = APIRouter(prefix="/api/v1/incidents", tags=["incidents"])

Id = Annotated[str, Path(pattern=UUID, description="The id of an incident: a UUID in lower case.")]
Name = Annotated[str | None, Query(max_length=253)]


def _moment_of(about: str) -> Any:
    """A parameter that is a moment; read by hand, since pydantic takes numbers for moments, too."""
    return Query(
        pattern=RFC_3339, description=about, json_schema_extra={"format": "date-time"},
        examples=["2026-01-31T22:00:00Z"],
    )  # fmt: skip


@router.get("", response_model=PageShape, responses=READ_ERRORS)
async def page(
    request: Request,
    *,
    state: IncidentState | None = None,
    status: Annotated[Status | None, Query(description="Of the latest attempt.")] = None,
    cluster: Name = None,
    namespace: Name = None,
    severity: Severity | None = None,
    since: Annotated[str | None, _moment_of("Opened then or later.")] = None,
    until: Annotated[str | None, _moment_of("Opened before.")] = None,
    q: Annotated[
        str | None,
        Query(
            min_length=1, max_length=200,
            description="In message, reason, resource's name, headline or id, in any case.",
        ),
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> JSONResponse:  # fmt: skip
    """Incidents, newest first, page by page."""
    for name, text in (("cluster", cluster), ("namespace", namespace), ("q", q)):
        if text is not None and not text.isprintable():
            raise unusable(name, "holds characters that do not print")
    context = context_of(request)
    search = Search(
        # One more than asked for tells whether there is a page after this one.
        limit=limit + 1,
        state=state,
        status=status,
        cluster=cluster,
        namespace=namespace,
        severity=severity,
        since=_moment("since", since),
        until=_moment("until", until),
        text=q,
        after=None if cursor is None else position_of(cursor),
    )
    found = await context.store.search(search)
    shown = found[:limit]
    return JSONResponse(
        {
            "incidents": [incident_as_json(each, context.redactor) for each in shown],
            "next": cursor_after(shown[-1]) if len(found) > limit else None,
        }
    )


def _moment(name: str, given: str | None) -> datetime | None:
    try:
        return None if given is None else utc(datetime.fromisoformat(given))
    except (OverflowError, ValueError):
        raise unusable(name, "is no moment that can be") from None


@router.get("/{id}", response_model=StoryShape, responses=READ_ERRORS)
async def story(request: Request, id: Id) -> JSONResponse:
    """One incident: its fault, every attempt, transition, report, decision and feedback."""
    context = context_of(request)
    incident_id = IncidentId(id)
    story = await context.store.story(incident_id)
    course = await context.store.desk.course(incident_id)
    return JSONResponse(whole_story(story, course, context.clock(), context.redactor))


@router.post("/{id}/cancel", status_code=202, response_model=ActedShape, responses=OPERATE_ERRORS)
async def cancel(request: Request, id: Id) -> JSONResponse:
    """Stop what is being done about it, or take it out of the queue. Twice is the same as once."""
    context = context_of(request)
    return await _acted(IncidentId(id), await context.backend.cancel(IncidentId(id)))


@router.post("/{id}/retry", status_code=202, response_model=ActedShape, responses=OPERATE_ERRORS)
async def retry(request: Request, id: Id) -> JSONResponse:
    """Let an incident that has ended wait for another attempt."""
    context = context_of(request)
    return await _acted(IncidentId(id), await context.backend.retry(IncidentId(id)))


async def _acted(incident_id: IncidentId, acted: Acted) -> JSONResponse:
    if acted.outcome is Outcome.REFUSED:
        raise Problem(409, acted.reason)
    answer = {"incident_id": incident_id, "outcome": acted.outcome, "reason": acted.reason}
    return JSONResponse(answer, 202)


@router.post(
    "/{id}/feedback", status_code=202, response_model=ActedShape, responses=OPERATE_ERRORS,
    openapi_extra=FEEDBACK_BODY,
)  # fmt: skip
async def feedback(request: Request, id: Id) -> JSONResponse:
    """Say whether the report is right."""
    require_type(request, ["application/json"])
    said = _feedback_of(await read_body(request))
    context = context_of(request)
    if not (await context.store.story(IncidentId(id))).attempts:
        raise Problem(409, "nobody has looked at it yet, so there is no report to speak of")
    await context.backend.feedback(IncidentId(id), said)
    answer = {"incident_id": id, "outcome": Outcome.DONE, "reason": "it is on record"}
    return JSONResponse(answer, 202)


def _feedback_of(body: bytes) -> Feedback:
    try:
        # Without strictness of types nothing else would be a text.
        said = FeedbackShape.model_validate_json(body, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if any(each["type"] == "json_invalid" for each in found):
            raise Problem(400, "the body is not JSON") from None
        raise wrong([_field_error(each) for each in found]) from None
    return Feedback(verdict=said.verdict, cause=said.cause, note=said.note, by=said.by)  # type: ignore[arg-type]


def _field_error(error: Any) -> FieldError:
    return FieldError(pointer="".join(f"/{step}" for step in error["loc"]), detail=error["msg"])
