"""What is done with an incident, and in which order.

Here belong the one function that works an incident from its fault to its three reports, the
built-in investigator, further attempts, other agents, the circuit breaker, recovery after a crash,
cleaning up, and later dispatching. Agents, runtimes, sources and sinks are known by the protocols
of `core.ports` only. Never here: SQL, the words of a particular CLI, HTTP routes, the environment,
or anything that prints.
"""

from kubecase.service.attempts import Attempts
from kubecase.service.breaker import Breaker
from kubecase.service.conclude import Concluded
from kubecase.service.investigate import Investigator
from kubecase.service.panel import Panel
from kubecase.service.recover import Recovery

__all__ = ["Attempts", "Breaker", "Concluded", "Investigator", "Panel", "Recovery"]
