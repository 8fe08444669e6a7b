"""The application: routes, errors in one form, and its OpenAPI document."""

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from kubecase import __version__
from kubecase.app.web import (
    file_routes,
    health_routes,
    incident_routes,
    intake_routes,
    stream,
)
from kubecase.app.web.context import Context, context_of
from kubecase.app.web.documents import COMPONENTS, errors, fault_schema
from kubecase.app.web.idempotency import Answers
from kubecase.app.web.problems import PROBLEM_JSON, FieldError, Problem, busy
from kubecase.app.web.shapes import FeedbackShape, ProblemShape
from kubecase.core.errors import (
    FaultRejected,
    IncidentUnknown,
    InvalidIncidentId,
    KubecaseError,
    StoreUnavailable,
)
from kubecase.service.intake import Draining, QueueFull

OPENAPI = "/api/v1/openapi.json"
_REF = "#/components/schemas/{model}"
_OUR_NAMES = re.compile(r'([A-Za-z]+)Shape"')
"""How the classes are called that answers are made of, which is nobody else's business."""


def build(context: Context) -> FastAPI:
    """The application over `context`, without the guard that has to stand in front of it."""
    app = _routed()
    app.state.context = context
    app.state.answers = Answers(backend=context.backend)

    document = json.dumps(openapi(app)).encode()

    @app.get(OPENAPI, include_in_schema=False)
    async def _document() -> Response:
        return Response(document, media_type="application/json")

    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(KubecaseError, _kubecase_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _bug)
    return app


def _routed() -> FastAPI:
    # The pages that FastAPI would make of the document load scripts from elsewhere.
    app = FastAPI(
        title="kubecase", version=__version__, docs_url=None, redoc_url=None, openapi_url=None,
        redirect_slashes=False,
        # Bodies are counted in `bodies`, with a limit that is ours.
        max_body_size=None,
        # Else a variable of the environment could have it tell others what is asked here.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )  # fmt: skip
    for each in (intake_routes, stream, file_routes, incident_routes, health_routes):
        app.include_router(each.router)
    return app


def document_text() -> str:
    """The OpenAPI document as `docs/openapi.json` holds it."""
    return json.dumps(openapi(_routed()), indent=1, sort_keys=True) + "\n"


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of `app`."""
    made = get_openapi(
        title="kubecase",
        # That of the API: the program's own would change the document with each release.
        version="1",
        openapi_version="3.1.0",
        description="Opens a case for every Kubernetes fault and has an agent investigate it: "
        "read-only, contained, on the record.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for shape in (ProblemShape, FeedbackShape):
        found = shape.model_json_schema(ref_template=_REF)
        schemas |= found.pop("$defs", {})
        schemas[shape.__name__] = found
    schemas |= {"Fault": fault_schema(), **{n: dict(s) for n, s in COMPONENTS.items()}}
    made["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "kubecase token create"}
    }
    # Or none: from a loopback address.
    made["security"] = [{"token": []}, {}]
    for path in made["paths"].values():
        for operation in path.values():
            operation["responses"].setdefault("405", errors(405)[405])
    plain: dict[str, Any] = json.loads(_OUR_NAMES.sub(r'\1"', json.dumps(made)))
    return plain


def _answer(problem: Problem) -> Response:
    return Response(
        problem.body(), problem.status, headers=problem.headers, media_type=PROBLEM_JSON
    )


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - registered for that
    return _answer(error)


async def _kubecase_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, KubecaseError)  # noqa: S101 - registered for that
    context = context_of(request)
    said = context.redactor.text(str(error))[0]
    match error:
        case QueueFull():
            return _answer(busy(said, error.retry_after))
        case Draining():
            return _answer(busy(said, 5))
        case StoreUnavailable():
            context.observer.record("error", error_type="store", error=error)
            # What exactly is wrong with it is for the log: it may name paths and addresses.
            return _answer(busy("the store cannot be used now", 5))
        case IncidentUnknown() | InvalidIncidentId():
            return _answer(Problem(404, said))
        case FaultRejected():
            return _answer(Problem(422, said))
    return _answer(Problem(409, said, hint=error.hint))


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for that
    words: Mapping[int, str] = {
        404: "there is nothing at this address",
        405: f"there is no {request.method[:20]} here",
    }
    headers = dict(error.headers or {})
    detail = words.get(error.status_code, "the request cannot be answered")
    return _answer(Problem(error.status_code, detail, headers=headers))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for that
    found = [
        FieldError(pointer=".".join(str(step) for step in each["loc"]), detail=str(each["msg"]))
        for each in error.errors()
    ]
    said = "; ".join(f"{each.pointer}: {each.detail}" for each in found[:3])
    return _answer(Problem(422, said, errors=found))


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody reads this any more; it only is no bug of ours."""
    return _answer(Problem(400, "the request was broken off"))


async def _bug(request: Request, error: Exception) -> Response:
    """What nobody expected: not a word of it goes out; the log has it with its trace."""
    return _answer(Problem(500, "this is a bug of kubecase; its log says more"))


if __name__ == "__main__":
    import sys
    from pathlib import Path

    Path(sys.argv[1]).write_text(document_text(), encoding="utf-8")
