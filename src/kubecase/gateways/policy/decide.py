"""The policy: an allow-list. Pure; every rule is measured in docs/gateways.md."""

from collections.abc import Mapping

from kubecase.gateways.policy import accept as forms
from kubecase.gateways.policy import query as parameters
from kubecase.gateways.policy import reviews, words
from kubecase.gateways.policy.paths import (
    Named,
    Odd,
    is_discovery,
    is_health,
    is_schema,
    named,
    split_target,
)
from kubecase.gateways.policy.resources import NEVER, Resources
from kubecase.gateways.policy.values import Allowed, Answer, Bounds, Decision, Denied, KubeRequest

_UPGRADES = frozenset({"upgrade", "x-stream-protocol-version", "http2-settings"})


def decide(request: KubeRequest, resources: Resources, bounds: Bounds) -> Decision:
    """Whether `request` may pass and in which form, or why not.

    What passes is a GET of a listed resource, its list, its watch or one of the subresources log,
    status and scale; of discovery, OpenAPI, version and health; or the POST of a self review.
    """
    if _upgrades(request):
        return Denied(rule="upgrade", says=words.UPGRADE)
    try:
        segments, raw_query = split_target(request.target)
        query = parameters.parse(raw_query)
    except (Odd, parameters.Unclear) as error:
        says = f"kubecase: the address is refused: {error}"
        return Denied(rule="address", says=says, code=400, reason="BadRequest")
    target = named(segments, resources)
    if request.method == "POST" and segments in reviews.KINDS:
        return _review(request, segments, query, bounds)
    if target is not None and target.plural in NEVER:
        # First of all, so that no other rule ever speaks about one.
        return Denied(rule="secrets", says=words.SECRETS)
    if request.method != "GET":
        return Denied(rule="method", says=words.of_method(request.method, target))
    if request.body:
        says = "kubecase: a GET request with a body is refused"
        return Denied(rule="body", says=says, code=400, reason="BadRequest")
    if target is not None and segments not in reviews.KINDS:
        return _read(request, segments, target, query, bounds)
    return _other(request, segments, query)


def _upgrades(request: KubeRequest) -> bool:
    for key, value in request.headers:
        name = key.lower()
        if name in _UPGRADES or name.startswith("sec-websocket-"):
            return True
        if name == "connection" and "upgrade" in value.lower():
            return True
    return False


def _review(
    request: KubeRequest, segments: tuple[str, ...], query: Mapping[str, str], bounds: Bounds
) -> Decision:
    if len(request.body) > bounds.review_bytes:
        says = f"kubecase: a self review has at most {bounds.review_bytes} bytes"
        return Denied(rule="review", says=says, code=413, reason="RequestEntityTooLarge")
    types = request.header("content-type")
    content_type = types[0] if len(types) == 1 else ""
    fault = reviews.fault_of(segments, content_type, request.body)
    if fault is not None:
        says = f"kubecase: the self review is refused: {fault}"
        return Denied(rule="review", says=says, code=400, reason="BadRequest")
    kept = parameters.only(query, frozenset({"timeout", "pretty"}))
    return Allowed(
        answer=Answer.OBJECT,
        method="POST",
        path=_path(segments),
        query=tuple(kept.items()),
        accept=forms.JSON,
        resource=segments[-1],
        content_type=content_type.partition(";")[0].strip().lower(),
        left_out=tuple(parameters.left_out(query, kept)),
    )


def _read(
    request: KubeRequest,
    segments: tuple[str, ...],
    target: Named,
    query: Mapping[str, str],
    bounds: Bounds,
) -> Decision:
    if target.plural == "watch" and target.resource is None:
        return Denied(rule="legacy-watch", says=words.LEGACY_WATCH)
    if target.resource is None:
        return Denied(rule="resource", says=words.of_resource(target))
    if target.part is not None and target.part not in target.resource.subresources:
        return Denied(rule="subresource", says=words.of_part(target))
    asked = request.header("accept")
    wanted = forms.for_objects(",".join(asked))
    name = target.resource.full_name
    if target.part == "log":
        answer = Answer.FOLLOW if parameters.is_follow(query) else Answer.LOG
        kept, wanted = parameters.logging(query, bounds), "*/*"
    elif target.part is None and parameters.is_watch(query):
        answer, kept = Answer.WATCH, parameters.watching(query, bounds)
    elif target.name is None:
        answer, kept = Answer.OBJECT, parameters.only(query, parameters.LISTING)
    else:
        answer = Answer.OBJECT
        kept = parameters.only(query, frozenset({"resourceVersion", "pretty", "timeout",
                                                 "includeObject"}))  # fmt: skip
    return Allowed(
        answer=answer,
        method="GET",
        path=_path(segments),
        query=tuple(kept.items()),
        accept=wanted,
        resource=f"{name}/{target.part}" if target.part else name,
        left_out=tuple(parameters.left_out(query, kept)),
    )


def _other(request: KubeRequest, segments: tuple[str, ...], query: Mapping[str, str]) -> Decision:
    accept = ",".join(request.header("accept"))
    if is_discovery(segments):
        answer, wanted = Answer.OBJECT, forms.for_objects(accept)
    elif is_schema(segments):
        answer, wanted = Answer.SCHEMA, forms.for_schemas(accept)
    elif segments == ("version",):
        answer, wanted = Answer.OBJECT, forms.JSON
    elif is_health(segments):
        answer, wanted = Answer.TEXT, "*/*"
    else:
        return Denied(rule="path", says=words.of_path())
    kept = parameters.only(query, parameters.BARE)
    return Allowed(
        answer=answer,
        method="GET",
        path=_path(segments),
        query=tuple(kept.items()),
        accept=wanted,
        left_out=tuple(parameters.left_out(query, kept)),
    )


def _path(segments: tuple[str, ...]) -> str:
    return "/" + "/".join(segments)
