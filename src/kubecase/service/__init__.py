"""What is done with an incident, and in which order.

Here belong the one function that works an incident from its fault to its three reports, the
built-in investigator, and later dispatching, recovery, cleaning up and the circuit breaker. Agents,
runtimes, sources and sinks are known by the protocols of `core.ports` only. Never here: SQL, the
words of a particular CLI, HTTP routes, the environment, or anything that prints.
"""

from kubecase.service.conclude import Concluded
from kubecase.service.investigate import Investigator

__all__ = ["Concluded", "Investigator"]
