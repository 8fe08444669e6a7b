"""The protocols that models are spoken to in. Pure: no socket, no file, no clock.

Here belong which requests may pass, how each protocol refuses, and how its usage is read. Never
here: keys, upstreams, budgets, or anything that waits.
"""

from collections.abc import Mapping

from kubecase.gateways.protocols.anthropic import ANTHROPIC
from kubecase.gateways.protocols.events import reader_for
from kubecase.gateways.protocols.gemini import GEMINI
from kubecase.gateways.protocols.openai import OPENAI
from kubecase.gateways.protocols.wire import Dialect, Kind, ProtocolName, Route, Seen, trouble_of

DIALECTS: Mapping[ProtocolName, Dialect] = {
    "anthropic": ANTHROPIC,
    "openai": OPENAI,
    "gemini": GEMINI,
}

__all__ = [
    "DIALECTS",
    "Dialect",
    "Kind",
    "ProtocolName",
    "Route",
    "Seen",
    "reader_for",
    "trouble_of",
]
