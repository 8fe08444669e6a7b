"""What a rule hands over: a category, a sentence, a culprit, how strong, what proves it."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from kubecase.core.report import Culprit, Evidence
from kubecase.diagnosis.facts import Key, culprit, kept
from kubecase.diagnosis.graph import Graph
from kubecase.diagnosis.pods import Pod

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One possible cause.

    `strength` is how sure the rule is from its own evidence, 0 to 1. `about` names the objects in
    which the trouble shows; how near they are to the incident decides with the strength. `lasting`
    findings stand although all pods concerned are well.
    """

    category: str
    sentence: str
    blamed: Key | None
    strength: float
    about: tuple[Key, ...]
    evidence: tuple[Evidence, ...]
    steps: tuple[str, ...] = ()
    lasting: bool = False

    @property
    def culprit(self) -> Culprit | None:
        """The object to be changed; what has no kind or no name cannot be named as one."""
        named = self.blamed is not None and self.blamed[0].strip() and self.blamed[2].strip()
        return culprit(self.blamed) if self.blamed is not None and named else None


Rule = Callable[[Graph], Iterator[Finding]]


def found(
    category: str,
    sentence: str,
    *,
    blamed: Key | None,
    strength: float,
    about: Iterable[Key],
    evidence: Iterable[Evidence | None],
    steps: Iterable[str] = (),
    lasting: bool = False,
) -> Finding:
    """A finding with its evidence tidied."""
    return Finding(
        category=category,
        sentence=" ".join(sentence.split()),
        blamed=blamed,
        strength=strength,
        about=tuple(dict.fromkeys(about)),
        evidence=kept(*evidence)[:6],
        steps=tuple(steps),
        lasting=lasting,
    )


def near_pods(graph: Graph, pod: Pod) -> tuple[Key, ...]:
    """The pod and the controller at its top."""
    return (pod.thing.key, graph.root_of(pod))


def kubectl(verb: str, namespace: str = "") -> str:
    """The begin of a read-only command: `kubectl -n shop get`."""
    return f"kubectl -n {word(namespace)} {verb}" if namespace else f"kubectl {verb}"


def word(name: str) -> str:
    """A name as one word of a command; a name that is none is left for the reader to fill in."""
    return name if _SAFE.fullmatch(name) else "NAME"


def get(key: Key, *, output: str = "yaml") -> str:
    """The command that shows an object."""
    kind, namespace, name = key
    return f"{kubectl('get', namespace)} {kind.lower()} {word(name)} -o {output}"


def describe(key: Key) -> str:
    """The command that shows an object with its events."""
    kind, namespace, name = key
    return f"{kubectl('describe', namespace)} {kind.lower()} {word(name)}"


def previous_log(pod: Pod, container: str) -> str:
    """The command that shows the log of the run before."""
    start = kubectl("logs", pod.thing.namespace)
    return f"{start} {word(pod.thing.name)} -c {word(container)} --previous"
