"""Reads a kubectl command line as kubectl would, and allows what only reads. Pure.

Verbs, flags and resources are allow-lists, wherever they stand in the line. What is allowed is
written anew from what was understood, so that kubectl is given what was decided about. This is
not the wall: the cluster gateway is. It is what tells an agent early, and in words, what not to
try.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kubecase.core.kubectl_flags import BY_LETTER, BY_NAME, FLAGS, NEVER, Flag, flags_of
from kubecase.core.kubectl_line import NotPlain, words_of
from kubecase.core.kubectl_words import (
    Unfit,
    expected_words,
    resources_in,
)

LONGEST_WORD = 4096
MOST_WORDS = 100
LOG_LINES = 500
WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A command that is not run; `says` is a sentence or two for whoever asked."""

    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KubectlCall:
    """A command that may be run. `argv` is what kubectl is given, without its own name.

    `verb` has its second word where it has one; `resources` are the types that are named.
    """

    verb: str
    argv: tuple[str, ...]
    resources: tuple[str, ...] = ()


class Resources(Protocol):
    """What may be read of the cluster."""

    def knows(self, word: str) -> bool:
        """Whether this type, in lower case, may be read: plural, singular, short, with group."""


class _No(Exception):
    """Why a command is refused."""


def parse_line(line: str, resources: Resources) -> KubectlCall | Refused:
    """The call that one line of text stands for; no shell is there to read it otherwise."""
    try:
        return parse(words_of(line), resources)
    except NotPlain as error:
        return Refused(says=str(error))


def parse(words: Sequence[str], resources: Resources) -> KubectlCall | Refused:
    """The call that these words stand for; a leading `kubectl` is left out."""
    try:
        return _Reading(_plain(words), resources).call()
    except (_No, Unfit) as error:
        return Refused(says=str(error))


def _plain(words: Sequence[str]) -> list[str]:
    if len(words) > MOST_WORDS:
        raise _No(f"The command has more than {MOST_WORDS} words.")
    for word in words:
        if len(word) > LONGEST_WORD:
            raise _No(f"A word of the command is longer than {LONGEST_WORD} characters.")
        if not word.isprintable():
            raise _No("There is a control character in the command.")
    first = words[0] if words else ""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", first):
        raise _No("No variable is set before the command: there is no shell.")
    if first == "kubectl" or re.fullmatch(r"/(?:usr/)?(?:local/)?bin/kubectl", first):
        return list(words[1:])
    return list(words)


@dataclass
class _Given:
    flag: Flag
    value: str


class _Reading:
    """One pass over the words, as pflag makes it: flags and others may be mixed."""

    def __init__(self, words: list[str], resources: Resources) -> None:
        self._words = words
        self._resources = resources
        self._given: list[_Given] = []
        self._plain: list[str] = []
        self._known_verb = ""

    def call(self) -> KubectlCall:
        verb, rest = self._verb()
        self._known_verb = verb
        self._read(rest, {f.name: f for f in flags_of(verb)})
        self._add_bounds(verb)
        self._check_template()
        expected_words(verb, self._plain, {each.flag.name for each in self._given})
        named = [*self._plain, *self._events_for(verb)]
        types = resources_in(verb, named, self._resources.knows)
        flags = [f"--{each.flag.name}={each.value}" for each in self._given]
        return KubectlCall(
            verb=verb, argv=(*verb.split(" "), *flags, *self._plain), resources=types
        )

    def _verb(self) -> tuple[str, list[str]]:
        """The verb, which may come after flags, and all other words."""
        words = list(self._words)
        before = _leading_flags(words)
        if not words:
            raise _No("There is no verb: try get, describe, logs, events, top or explain.")
        verb = words.pop(0)
        if not any(known.partition(" ")[0] == verb for known in FLAGS):
            raise _No(_not_a_verb(verb))
        if verb in FLAGS:
            return verb, before + words
        return self._second(verb, before, words)

    def _second(self, verb: str, before: list[str], words: list[str]) -> tuple[str, list[str]]:
        """The second word of a verb that has two; flags may stand before it."""
        between = _leading_flags(words)
        second = words.pop(0) if words else ""
        full = f"{verb} {_TOP.get(second, second) if verb == 'top' else second}"
        if full not in FLAGS:
            known = ", ".join(each for each in FLAGS if each.startswith(f"{verb} "))
            raise _No(f"`kubectl {verb} {second[:40]}` is not allowed here. Allowed are: {known}.")
        return full, before + between + words

    def _read(self, words: list[str], flags: dict[str, Flag]) -> None:
        letters = {flag.short: flag for flag in flags.values() if flag.short}
        while words:
            word = words.pop(0)
            if word == "--":
                self._plain += words
                return
            if word.startswith("--"):
                self._long(word, words, flags)
            elif word.startswith("-") and word != "-":
                self._letters(word, words, letters)
            else:
                self._plain.append(word)

    def _long(self, word: str, words: list[str], flags: dict[str, Flag]) -> None:
        name, equals, value = word[2:].partition("=")
        flag = flags.get(name)
        if flag is None:
            raise _No(_not_a_flag(f"--{name}", name))
        if not equals:
            value = self._next(word, words) if flag.takes_value else "true"
        self._take(flag, value)

    def _letters(self, word: str, words: list[str], letters: dict[str, Flag]) -> None:
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            flag = letters.get(letter)
            if flag is None:
                follows = letter == "f" and self._known_verb == "logs"
                raise _No(_not_a_flag(f"-{letter}", "follow" if follows else letter))
            if rest.startswith("="):
                self._take(flag, rest[1:])
                return
            if flag.takes_value:
                self._take(flag, rest or self._next(word, words))
                return
            self._take(flag, "true")

    def _next(self, word: str, words: list[str]) -> str:
        if not words:
            raise _No(f"The flag {word[:60]} has no value.")
        return words.pop(0)

    def _take(self, flag: Flag, value: str) -> None:
        fault = flag.check(value) if flag.check is not None else None
        if fault is not None:
            raise _No(f"The value {value[:80]!a} of --{flag.name} {fault}.")
        self._given.append(_Given(flag, value))

    def _events_for(self, verb: str) -> list[str]:
        """What events are asked about: TYPE/NAME too, though in a flag."""
        return [each.value for each in self._given if verb == "events" and each.flag.name == "for"]

    def _has(self, *names: str) -> bool:
        return any(each.flag.name in names for each in self._given)

    def _add_bounds(self, verb: str) -> None:
        flags = {flag.name: flag for flag in flags_of(verb)}
        if verb == "logs" and not self._has("tail", "since", "since-time", "limit-bytes"):
            self._given.append(_Given(flags["tail"], str(LOG_LINES)))
        if verb in {"wait", "rollout status"} and not self._has("timeout"):
            self._given.append(_Given(flags["timeout"], f"{WAIT_SECONDS}s"))

    def _check_template(self) -> None:
        outputs = [each.value for each in self._given if each.flag.name == "output"]
        if self._has("template") and outputs[-1:] != ["go-template"]:
            raise _No("--template goes with -o go-template, which takes it as text.")


_TOP = {"pod": "pods", "po": "pods", "node": "nodes", "no": "nodes"}


def _leading_flags(words: list[str]) -> list[str]:
    """The flags that `words` begins with, and their values, which are taken out of it."""
    found: list[str] = []
    while words and words[0].startswith("-") and words[0] != "--":
        found.append(words.pop(0))
        if _wants_value(found[-1]) and words:
            found.append(words.pop(0))
    return found


def _wants_value(word: str) -> bool:
    """Whether the flags in `word`, before the verb is known, take the next word as a value.

    What the verb may have is checked later; a flag that no verb may have is refused at once, so
    that it is named, and not what stands behind it.
    """
    if word.startswith("--"):
        name, equals, _ = word[2:].partition("=")
        if name not in BY_NAME:
            raise _No(_not_a_flag(f"--{name}", name))
        return BY_NAME[name].takes_value and not equals
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        if letter not in BY_LETTER:
            raise _No(_not_a_flag(f"-{letter}", letter))
        if rest.startswith("="):
            return False
        if BY_LETTER[letter].takes_value:
            return not rest
    return False


def _not_a_flag(shown: str, name: str) -> str:
    why = NEVER.get(name)
    if why is None and name.startswith(("as-", "log-", "profile")):
        why = "it is none of those that only read"
    if why is not None:
        return f"The flag {shown[:60]} is not allowed: {why}."
    return f"The flag {shown[:60]} is not on the list of what this verb may have here."


def _not_a_verb(verb: str) -> str:
    if "/" in verb or verb in {"sh", "bash", "python", "curl", "helm", "jq", "cat", "grep"}:
        return f"{verb[:40]!a} is not run: only kubectl is, and there is no shell."
    return (
        f"`kubectl {verb[:40]}` is not allowed: this access only reads. Allowed are get, describe, "
        "logs, events, top, explain, api-resources, api-versions, version, cluster-info, "
        "auth can-i, auth whoami, rollout status, rollout history and wait. Put a change into the "
        "report as a recommendation instead."
    )
