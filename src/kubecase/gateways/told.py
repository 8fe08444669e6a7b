"""What a record proves to have been said by a cluster, for who checks quotes against it.

Not everything that an agent was answered counts: with a template, a misspelt name or a review an
agent has its own words told back to it, and could prove anything by them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kubecase.gateways.audit import read_answer, read_lines

_ECHOES = ("jsonpath", "go-template", "custom-columns", "--template")
_ERRORS = b"\n[stderr]\n"


def told_by(record: Path, answers: Path) -> Iterator[bytes]:
    """The kept answers that count, each once; nothing where there is no record any more."""
    seen: set[str] = set()
    try:
        for line in read_lines(record):
            digest = line.get("answer")
            if not isinstance(digest, str) or digest in seen or not _counts(line):
                continue
            seen.add(digest)
            answer = read_answer(answers, digest) if _is_digest(digest) else None
            if answer is not None:
                yield answer.partition(_ERRORS)[0] if line["kind"] == "tool" else answer
    except OSError:
        return


def _counts(line: Mapping[str, Any]) -> bool:
    kind = line.get("kind")
    if kind == "given":
        return str(line.get("file", "")).startswith("context/")
    if line.get("decision") != "allowed":
        return False
    if kind == "cluster":
        return line.get("method") == "GET" and line.get("status") == 200
    return kind == "tool" and line.get("tool") == "kubectl_read" and not _echoes(line)


def _echoes(line: Mapping[str, Any]) -> bool:
    arguments = line.get("arguments")
    if not isinstance(arguments, Mapping) or arguments.get("jsonpath"):
        return True
    return any(word in str(arguments.get("command")) for word in _ECHOES)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(each in "0123456789abcdef" for each in text)
