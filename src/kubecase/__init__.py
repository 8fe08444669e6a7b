"""kubecase opens a case for every Kubernetes fault and has an AI agent investigate it.

Read-only, contained, on the record. The rooms of this package and the walls between them are
described in docs/design.md; each room's own statute is the docstring of its `__init__.py`.
"""

__version__ = "0.1.0"
