"""The line that a model call leaves on record: sizes, digests, counts, never its text or a key."""

import hashlib
import time
from typing import Any

from kubecase.gateways.model_call import Call, Used
from kubecase.gateways.upstream import Upstream


def line_of(call: Call, used: Used, upstream: Upstream, method: str) -> dict[str, Any]:
    """The fields of the line for one request that has come to its end.

    `request` and `response` are SHA-256 digests of the bodies as they passed. A path that is not
    on the list is the agent's own text, and is not written down.
    """
    asked = call.asked
    now = time.monotonic()
    line: dict[str, Any] = {
        "upstream": upstream.name,
        "protocol": upstream.protocol,
        "call": None if asked is None else asked.route.kind.value,
        "method": method if asked is not None else None,
        "path": None if asked is None else asked.route.path,
        "model": None if asked is None else asked.model,
        "status": call.status,
        "decision": "refused" if call.refused else "allowed",
        "trouble": None if call.trouble is None else call.trouble.value,
        "reason": call.says,
        "ms": round((now - call.begun) * 1000),
    }
    if asked is not None:
        line["request"] = hashlib.sha256(asked.body).hexdigest()
        line["request_bytes"] = len(asked.body)
    if call.answered:
        line |= {
            "response": call.digest.hexdigest(),
            "response_bytes": call.answer_bytes,
            "whole": call.whole,
            "first_byte_ms": None if call.first_byte is None else round(
                (call.first_byte - call.begun) * 1000
            ),
        }  # fmt: skip
    if used.model is not None:
        line |= {
            "priced_as": used.model,
            "input_tokens": used.tokens.input,
            "cache_read_tokens": used.tokens.cache_read,
            "cache_write_tokens": used.tokens.cache_write + used.tokens.cache_write_long,
            "output_tokens": used.tokens.output,
            "estimated": used.estimated,
            "cost_usd": used.spent.micro_usd / 1e6 if used.priced else None,
        }
    return line
