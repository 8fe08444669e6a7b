"""The words of a kubectl command that are no flags: types, names, what each verb takes. Pure."""

import re
from collections.abc import Callable, Iterator, Sequence

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,251}[A-Za-z0-9])?", re.ASCII)
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9.-]{0,252}", re.ASCII)
_FIELD_PATH = re.compile(r"[A-Za-z][A-Za-z0-9.-]{0,400}", re.ASCII)
_ASKED = re.compile(r"[A-Za-z0-9*/][A-Za-z0-9*./:_-]{0,252}", re.ASCII)

EVERYTHING = "all"
"""What kubectl itself expands to a list of types, none of them Secrets."""


class Unfit(ValueError):
    """A word that is not allowed where it stands, in words for whoever asked."""


def resources_in(verb: str, words: Sequence[str], knows: Callable[[str], bool]) -> tuple[str, ...]:
    """The types that the words of `verb` name, in lower case; raises Unfit for one that may not be.

    Names are checked to be names.
    """
    found: list[str] = []
    for kind, name in _named(verb, words):
        if kind is not None:
            found.append(_checked_type(kind, knows))
        if name is not None and not _NAME.fullmatch(name):
            raise Unfit(f"{name[:80]!a} is no name of a Kubernetes object.")
    return tuple(found)


def _named(verb: str, words: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Pairs of type and name, as far as each is there."""
    if verb in {"get", "describe", "wait", "rollout status", "rollout history", "events"}:
        yield from _types_and_names(words)
    elif verb == "logs":
        for word in words[:1]:
            kind, slash, name = word.partition("/")
            yield (kind, name) if slash else (None, word)
        yield from ((None, word) for word in words[1:])
    elif verb in {"top pods", "top nodes"}:
        yield from ((None, word) for word in words)


def _types_and_names(words: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    if any("/" in word for word in words):
        for word in words:
            kind, slash, name = word.partition("/")
            if not slash or not name:
                raise Unfit(
                    f"{word[:80]!a} is no TYPE/NAME, and beside one all have to be of that form."
                )
            yield kind, name
        return
    for number, word in enumerate(words):
        if number == 0:
            yield from ((kind, None) for kind in word.split(","))
        else:
            yield None, word


def _checked_type(word: str, knows: Callable[[str], bool]) -> str:
    lower = word.lower()
    if lower.partition(".")[0] in {"secret", "secrets"}:
        raise Unfit(
            "Secrets are not readable in any form. `describe pod` shows which Secret and key a "
            "container wants, and the events say when one is missing."
        )
    if not _TYPE.fullmatch(word) or not (lower == EVERYTHING or knows(lower)):
        raise Unfit(
            f"The type {word[:80]!a} is not on the list of what is read here; api-resources shows "
            "what the cluster has. If it is needed, say so in the report."
        )
    return lower


def expected_words(verb: str, words: Sequence[str], flags: set[str]) -> None:
    """Raise Unfit unless `verb` can do something with these words."""
    if verb in {"api-resources", "api-versions", "version", "cluster-info", "auth whoami"}:
        if words:
            raise Unfit(f"`kubectl {verb}` takes no further words here, as {words[0][:40]!a}.")
    elif verb in {"get", "describe", "wait", "rollout status", "rollout history"}:
        if not words:
            raise Unfit(f"`kubectl {verb}` needs a type, such as pods or deployment/api.")
        if verb == "wait" and "for" not in flags:
            raise Unfit("`kubectl wait` needs --for=condition=..., =jsonpath=... or =delete.")
    elif verb == "logs":
        if not words and "selector" not in flags:
            raise Unfit("`kubectl logs` needs a pod, TYPE/NAME, or a selector.")
        if len(words) > 2:
            raise Unfit("`kubectl logs` takes one pod and one container.")
    elif verb in {"top pods", "top nodes"}:
        if len(words) > 1:
            raise Unfit(f"`kubectl {verb}` takes one name.")
    elif verb == "events":
        if words:
            raise Unfit("`kubectl events` takes no names; use --for=TYPE/NAME.")
    elif verb == "explain":
        if len(words) != 1 or not _FIELD_PATH.fullmatch(words[0]):
            raise Unfit("`kubectl explain` takes one type or field, such as pod.spec.")
    else:
        _can_i(words, flags)


def _can_i(words: Sequence[str], flags: set[str]) -> None:
    if not words and "list" not in flags:
        raise Unfit("`kubectl auth can-i` needs a verb and a type, or --list.")
    for word in words:
        if not _ASKED.fullmatch(word):
            raise Unfit(f"{word[:80]!a} is neither a verb nor a type.")
    if len(words) > 3:
        raise Unfit("`kubectl auth can-i` takes a verb, a type and a name.")
