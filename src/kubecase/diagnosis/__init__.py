"""The built-in investigator: from what was collected to ranked causes, without a model.

Here belong facts in one normal form, how objects hang together, the rules of the catalogue of
failures, and how findings are ordered. Never here: I/O of any kind, a clock, randomness, or a
decision that hangs on how some object happens to be called. What is read here was written by
others: it is quoted word for word as evidence, and never trusted to have a shape.
"""

from kubecase.core.model import Collection
from kubecase.core.report import Report
from kubecase.diagnosis.facts import Facts
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.rank import ranked
from kubecase.diagnosis.rules import RULES
from kubecase.diagnosis.scope import Scope
from kubecase.diagnosis.verdict import report

__all__ = ["diagnose"]


def diagnose(collection: Collection) -> Report:
    """What is wrong in `collection`, best hypothesis first, at most five, all quotes verbatim.

    Never raises, whatever the collection holds. A healthy input yields `none.no_fault`; when no
    cause can be named, `unknown.insufficient_evidence` says what is missing.
    """
    graph = Graph(Facts(collection))
    findings = [finding for rule in RULES for finding in rule(graph)]
    scope = Scope(graph)
    return report(graph, scope, ranked(graph, scope, findings))
