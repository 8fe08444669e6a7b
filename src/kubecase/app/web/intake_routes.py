"""Faults come in: `POST /api/v1/faults`, `/alertmanager`, `/cloudevents`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse

from kubecase.app.web.bodies import parsed, read_body, require_type
from kubecase.app.web.cloudevents import TYPES, events_of
from kubecase.app.web.context import caller_of, context_of
from kubecase.app.web.documents import (
    ALERTMANAGER_BODY,
    CLOUDEVENTS_BODY,
    FAULTS_BODY,
    INTAKE_ERRORS,
)
from kubecase.app.web.idempotency import Answers, digest_of, key_of
from kubecase.app.web.mapping import Mapped, alerts_of, faults_of
from kubecase.app.web.shapes import IntakeShape
from kubecase.channels.sources.intake import Arrival
from kubecase.core.intake import Accepted, Decision
from kubecase.service.intake import QueueFull

ACCEPTED = 202
JSON = "application/json"

router = APIRouter(prefix="/api/v1", tags=["faults"])

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="The same key and body are given the same answer for a day, also after a "
        "restart; the same key with another body is refused with 422.",
        max_length=200,
    ),
]
Mapper = Callable[[Request, Any, bytes, Arrival], Mapped]


@router.post(
    "/faults", status_code=ACCEPTED, response_model=IntakeShape, responses=INTAKE_ERRORS,
    openapi_extra=FAULTS_BODY,
)  # fmt: skip
async def faults(request: Request, key: Key = None) -> JSONResponse:
    """Hand in one fault, or a list of at most 500: all of them are taken, or none.

    A fault of a Kubernetes MCP server and an Event of Kubernetes are taken as they are.
    """
    require_type(request, [JSON])
    return await _taken(request, key, "http", lambda _, *rest: faults_of(*rest))


@router.post(
    "/alertmanager", status_code=ACCEPTED, response_model=IntakeShape, responses=INTAKE_ERRORS,
    openapi_extra=ALERTMANAGER_BODY,
)  # fmt: skip
async def alertmanager(request: Request, key: Key = None) -> JSONResponse:
    """Take a notification of Alertmanager (webhook, version 4).

    Firing alerts are handed in; resolved ones close what is open for them.
    """
    require_type(request, [JSON])
    return await _taken(request, key, "alertmanager", lambda _, *rest: alerts_of(*rest))


@router.post(
    "/cloudevents", status_code=ACCEPTED, response_model=IntakeShape, responses=INTAKE_ERRORS,
    openapi_extra=CLOUDEVENTS_BODY,
)  # fmt: skip
async def cloudevents(request: Request, key: Key = None) -> JSONResponse:
    """Take CloudEvents 1.0, structured, batched or binary, with faults or notifications."""
    media_type = require_type(request, TYPES)

    def mapper(request: Request, value: Any, body: bytes, arrival: Arrival) -> Mapped:
        return events_of(media_type, request.headers, value, body, arrival)

    return await _taken(request, key, "cloudevents", mapper)


async def _taken(request: Request, given: str | None, source: str, mapper: Mapper) -> JSONResponse:
    """The answer, once everything that the body holds is durable."""
    context = context_of(request)
    answers: Answers = request.app.state.answers
    key = key_of(given, caller_of(request).key, request.url.path)
    body = await read_body(request)
    digest = digest_of(body, *_attributes(request.headers))
    async with answers.turn(key):
        known = await answers.known(key, digest)
        if known is not None:
            return JSONResponse(known.body, known.status, {"Idempotency-Replayed": "true"})
        arrival = Arrival(
            now=context.clock(), cluster_default=context.cluster_default, source=source
        )
        mapped = mapper(request, parsed(body), body, arrival)
        for each in mapped.ignored:
            # Whoever sent it reads no answers; people read the log.
            context.observer.record("entry_ignored", pointer=each.pointer, why=each.detail)
        answer = await _accepted(context.backend, mapped)
        await answers.keep(key, digest, ACCEPTED, answer)
    return JSONResponse(answer, ACCEPTED)


async def _accepted(backend: Any, mapped: Mapped) -> dict[str, Any]:
    # What is over first: a full queue refuses new faults, and must not keep old ones open.
    resolved = await backend.resolve(mapped.resolved) if mapped.resolved else ()
    accepted = await backend.accept(mapped.faults) if mapped.faults else ()
    refused = [each for each in accepted if each.decision is Decision.REFUSED]
    if refused:
        # Not all of it was taken. Who sends it again finds what was as joined, and loses nothing.
        raise QueueFull(refused[0].reason)
    return {
        "accepted": _rows(accepted),
        "resolved": _rows(resolved),
        "ignored": [{"pointer": i.pointer, "detail": i.detail} for i in mapped.ignored],
    }


def _rows(accepted: Sequence[Accepted]) -> list[dict[str, Any]]:
    return [
        {"incident_id": each.incident_id, "decision": each.decision, "reason": each.reason}
        for each in accepted
    ]


def _attributes(headers: Mapping[str, str]) -> list[bytes]:
    """The headers that say what the body means."""
    names = sorted(name for name in headers if name.startswith("ce-") or name == "content-type")
    return [f"{name}: {headers[name]}".encode() for name in names]
