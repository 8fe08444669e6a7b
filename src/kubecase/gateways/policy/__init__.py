"""What may be asked of a cluster: one pure function from a request to a decision.

Here belong the list of what may be read, the reading of paths and queries, and the words in which a
denial is told. Never here: a socket, a file, a clock, a count, or a decision that depends on more
than the one request.
"""

from kubecase.gateways.policy.decide import decide
from kubecase.gateways.policy.resources import Resource, Resources
from kubecase.gateways.policy.values import (
    Allowed,
    Answer,
    Bounds,
    Decision,
    Denied,
    KubeRequest,
)

__all__ = [
    "Allowed",
    "Answer",
    "Bounds",
    "Decision",
    "Denied",
    "KubeRequest",
    "Resource",
    "Resources",
    "decide",
]
