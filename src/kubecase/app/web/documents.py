"""What the OpenAPI document says beyond what is read off the routes: bodies and errors."""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

from kubecase.app.web.problems import PROBLEM_JSON

_WHEN: Mapping[int, str] = {
    400: "The request cannot be read: not JSON, a bad parameter, no Host.",
    401: "A token is needed, or the one that was sent is not good.",
    403: "The token lacks a scope, or a page of another site asked.",
    404: "There is no such thing.",
    405: "There is no such method here.",
    408: "The body did not come in time.",
    409: "It cannot be done as things stand.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    422: "The body or a parameter is not what is asked for; `errors` names each field.",
    429: "Too many requests from this caller; see Retry-After.",
    503: "The service cannot do it now: it shuts down, its queue is full, or its store is away.",
}

Responses = dict[int | str, dict[str, Any]]


def errors(*statuses: int) -> Responses:
    """The errors that any request may meet, and `statuses`."""
    return {
        status: {
            "description": _WHEN[status],
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemShape"}}},
        }
        for status in sorted({400, 401, 403, 422, 429, 503, *statuses})
    }


INTAKE_ERRORS = errors(408, 413, 415)
READ_ERRORS = errors(404)
OPERATE_ERRORS = errors(404, 408, 409, 413, 415)


@lru_cache(maxsize=1)
def fault_schema() -> dict[str, Any]:
    """The JSON Schema of a kubecase fault, as a component of an OpenAPI document."""
    source = files("kubecase.channels.sources").joinpath("fault.schema.json")
    schema: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    del schema["$schema"]
    return schema


MCP_FAULT: Mapping[str, Any] = {
    "title": "A fault of a Kubernetes MCP server",
    "type": "object",
    "required": ["faultType", "resource"],
    "properties": {
        "subscriptionId": {"type": "string"},
        "cluster": {"type": "string"},
        "faultId": {"type": "string"},
        "faultType": {"type": "string", "minLength": 1, "maxLength": 1024},
        "severity": {"type": "string"},
        "resource": {"type": "object"},
        "context": {"type": "string"},
        "timestamp": {"type": "string"},
    },
}
ALERT: Mapping[str, Any] = {
    "title": "One alert of a notification",
    "type": "object",
    "required": ["labels"],
    "properties": {
        "status": {"enum": ["firing", "resolved"]},
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "`namespace` and one of pod, deployment, statefulset, daemonset, job, "
            "node, service ... name the object; `severity` and `cluster` count too.",
        },
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "startsAt": {"type": "string"},
        "endsAt": {"type": "string"},
        "generatorURL": {"type": "string"},
        "fingerprint": {"type": "string"},
    },
}
NOTIFICATION: Mapping[str, Any] = {
    "title": "A notification of Alertmanager, version 4",
    "type": "object",
    "required": ["version", "alerts"],
    "properties": {
        "version": {"const": "4"},
        "groupKey": {"type": "string"},
        "truncatedAlerts": {"type": "integer"},
        "status": {"enum": ["firing", "resolved"]},
        "receiver": {"type": "string"},
        "groupLabels": {"type": "object"},
        "commonLabels": {"type": "object"},
        "commonAnnotations": {"type": "object"},
        "externalURL": {"type": "string"},
        "alerts": {
            "type": "array", "minItems": 1, "maxItems": 1000,
            "items": {"$ref": "#/components/schemas/Alert"},
        },
    },
}  # fmt: skip
CLOUD_EVENT: Mapping[str, Any] = {
    "title": "A CloudEvent 1.0",
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": 1024},
        "source": {"type": "string", "minLength": 1, "maxLength": 1024},
        "type": {"type": "string", "minLength": 1, "maxLength": 1024},
        "time": {"type": "string"},
        "datacontenttype": {"type": "string"},
        "data": {"description": "A fault, an Event of Kubernetes, an alert or a notification."},
        "data_base64": {"type": "string", "contentEncoding": "base64"},
    },
}

COMPONENTS: Mapping[str, Mapping[str, Any]] = {
    "McpFault": MCP_FAULT,
    "Alert": ALERT,
    "Notification": NOTIFICATION,
    "CloudEvent": CLOUD_EVENT,
}

_FAULT = {"$ref": "#/components/schemas/Fault"}
_ONE_FAULT: dict[str, Any] = {"anyOf": [_FAULT, {"$ref": "#/components/schemas/McpFault"}]}
_EVENT = {"$ref": "#/components/schemas/CloudEvent"}


def _body(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {name: {"schema": schema} for name, schema in content.items()},
        }
    }


FAULTS_BODY = _body(
    {
        "application/json": {
            "anyOf": [
                *_ONE_FAULT["anyOf"],
                {"type": "array", "items": _ONE_FAULT, "minItems": 1, "maxItems": 500},
            ]
        }
    }
)
ALERTMANAGER_BODY = _body({"application/json": {"$ref": "#/components/schemas/Notification"}})
CLOUDEVENTS_BODY = _body(
    {
        "application/cloudevents+json": _EVENT,
        "application/cloudevents-batch+json": {
            "type": "array", "items": _EVENT, "minItems": 1, "maxItems": 500,
        },
        "application/json": {
            "description": "A structured event, or with `ce-` headers the data of a binary one."
        },
    }
)  # fmt: skip
FEEDBACK_BODY = _body({"application/json": {"$ref": "#/components/schemas/FeedbackShape"}})
