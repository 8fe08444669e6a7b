"""Which form of an answer is asked for: JSON always, so that it can be read and redacted."""

import re

JSON = "application/json"
_PARAMETER = re.compile(r"(as|v|g|profile|charset|q)=[A-Za-z0-9._-]{1,64}")
_SCHEMAS = re.compile(r"application/com\.github\.proto-openapi\.spec\.v[23](\.v1)?@v1\.0\+protobuf")


def for_objects(accept: str) -> str:
    """Those forms of `accept` that are JSON (also as a Table or as metadata only), else JSON."""
    kept = [form for form in map(str.strip, accept.split(",")) if _is_json(form)]
    return ",".join(kept[:8]) or JSON


def for_schemas(accept: str) -> str:
    """As for objects; older kubectls read OpenAPI documents only as protobuf."""
    forms = [form.partition(";")[0].strip() for form in accept.split(",")]
    kept = [form for form in forms if form == JSON or _SCHEMAS.fullmatch(form)]
    return ",".join(kept[:4]) or JSON


def _is_json(form: str) -> bool:
    media, *parameters = (part.strip() for part in form.split(";"))
    return media == JSON and all(_PARAMETER.fullmatch(each) for each in parameters)
