"""`/healthz`, `/readyz`, `/health/clusters` and `/metrics`."""

from typing import Any

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from kubecase.app.web.backend import ClusterState, ClusterStatus
from kubecase.app.web.context import Context, caller_of, context_of
from kubecase.app.web.documents import errors
from kubecase.app.web.shapes import ClustersShape, HealthShape
from kubecase.core.errors import KubecaseError

STORE_SECONDS = 3.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["health"])

_UNHEALTHY = frozenset({ClusterStatus.DISCONNECTED, ClusterStatus.DEGRADED, ClusterStatus.FAILED})
_NOT_NOW: dict[int | str, dict[str, Any]] = {
    503: {
        "model": HealthShape,
        "description": "Not now. Who is known is told the reason.",
    }
}
_SAMPLES = {"text/plain": {"schema": {"type": "string"}}}


@router.get("/healthz", response_model=HealthShape, responses={**errors(), **_NOT_NOW})
async def alive(request: Request) -> JSONResponse:
    """Whether the process should go on; 503 while it shuts down."""
    context = context_of(request)
    draining = context.backend.draining or context.stopping.is_set()
    return _word(request, "shutting down" if draining else None)


@router.get("/readyz", response_model=HealthShape, responses={**errors(), **_NOT_NOW})
async def ready(request: Request) -> JSONResponse:
    """Whether faults can be taken and worked; 503 with the reason if not."""
    context = context_of(request)
    if context.backend.draining or context.stopping.is_set():
        return _word(request, "shutting down")
    return _word(request, context.backend.not_ready() or await _store_trouble(context))


async def _store_trouble(context: Context) -> str | None:
    with anyio.move_on_after(STORE_SECONDS):
        try:
            await context.store.list_investigations(limit=1)
        except KubecaseError as error:
            return f"the store cannot be read: {error}"
        return None
    return f"the store did not answer within {STORE_SECONDS:g} s"


def _word(request: Request, why: str | None) -> JSONResponse:
    if why is None:
        return JSONResponse({"status": "ok"})
    body = {"status": "unavailable"}
    if caller_of(request).is_known:
        body["reason"] = context_of(request).redactor.text(why)[0]
    return JSONResponse(body, 503)


@router.get("/health/clusters", response_model=ClustersShape, responses=errors())
async def clusters(request: Request) -> JSONResponse:
    """Every configured cluster: how its source stands, and what its credential may do."""
    context = context_of(request)
    found = context.backend.clusters()
    return JSONResponse(
        {
            "clusters": [_cluster(context, each) for each in found],
            "summary": {
                "total": len(found),
                "active": sum(each.status is ClusterStatus.ACTIVE for each in found),
                "unhealthy": sum(each.status in _UNHEALTHY for each in found),
                "triage_enabled": sum(each.triage_enabled for each in found),
            },
        }
    )


def _cluster(context: Context, each: ClusterState) -> dict[str, Any]:
    return {
        "name": each.name,
        "status": each.status,
        "event_count": each.event_count,
        "triage_enabled": each.triage_enabled,
        "last_event": each.last_event.isoformat() if each.last_event else None,
        "error": context.redactor.text(each.error)[0] if each.error else None,
        "permissions": None if each.permissions is None else dict(each.permissions),
        "labels": dict(each.labels),
        "retry_in": each.retry_in,
    }


@router.get("/metrics", response_class=Response, responses={**errors(), 200: {"content": _SAMPLES}})
async def metrics(request: Request) -> Response:
    """Everything that is counted, as Prometheus reads it."""
    return Response(context_of(request).metrics.text(), media_type=METRICS_TYPE)
