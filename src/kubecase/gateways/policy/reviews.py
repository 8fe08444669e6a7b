"""The three questions that a client may ask about itself, and that POST is for.

They change nothing. Their bodies come as JSON or as protobuf; of both the kind is read.
"""

import json
from collections.abc import Iterator, Mapping

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"

KINDS: Mapping[tuple[str, ...], str] = {
    ("apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    ("apis", "authorization.k8s.io", "v1", "selfsubjectrulesreviews"): "SelfSubjectRulesReview",
    ("apis", "authentication.k8s.io", "v1", "selfsubjectreviews"): "SelfSubjectReview",
    ("apis", "authentication.k8s.io", "v1beta1", "selfsubjectreviews"): "SelfSubjectReview",
}
"""By path, the kind that its body must be of."""

_MAGIC = b"k8s\x00"


def fault_of(segments: tuple[str, ...], content_type: str, body: bytes) -> str | None:
    """What is wrong with the body of a review at this path; None if nothing is."""
    version = "/".join(segments[1:3])
    expected = (version, KINDS[segments])
    media = content_type.partition(";")[0].strip().lower()
    if media not in {JSON, PROTOBUF}:
        return "its body is neither JSON nor protobuf"
    found = _of_json(body) if media == JSON else _of_protobuf(body)
    if found != expected:
        return f"its body is no {expected[1]} of {version}"
    return None


def _of_json(body: bytes) -> tuple[str, str] | None:
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    # The decoder of the API server takes names in any case.
    told = [(value[name], name) for name in value if name.lower() in {"apiversion", "kind"}]
    if len(told) != 2:
        return None
    return str(value.get("apiVersion")), str(value.get("kind"))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def _of_protobuf(body: bytes) -> tuple[str, str] | None:
    """Version and kind of the envelope, a `runtime.Unknown` whose field 1 is a `TypeMeta`."""
    if not body.startswith(_MAGIC):
        return None
    try:
        metas = [data for number, data in _fields(body[len(_MAGIC) :]) if number == 1]
        if len(metas) != 1:
            return None
        words = list(_fields(metas[0]))
        versions = [data for number, data in words if number == 1]
        kinds = [data for number, data in words if number == 2]
        if len(versions) != 1 or len(kinds) != 1:
            return None
        return versions[0].decode(), kinds[0].decode()
    except (ValueError, IndexError):
        return None


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; all that an envelope has. Raises ValueError."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        if key & 7 != 2:
            raise ValueError("a field that an envelope has not")
        size, position = _varint(data, position)
        if position + size > len(data):
            raise ValueError("cut off")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
        if shift > 35:
            raise ValueError("a number too large")
