"""The corpus of raw requests, and how each is judged; also a program of its own.

    python tests/attacks/corpus.py --kubeconfig FILE

runs all of it through a gateway before a real cluster, prints what came of each, and exits with 1
if one came out otherwise than written. It only reads, whatever the gateway lets pass: see rbac.md.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fakes.kube_rig import GatewayRig, Raw

FILE = Path(__file__).parent / "requests.toml"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One request of the corpus; `expect` is `allow` or the rule that denies it."""

    group: str
    method: str
    target: str
    expect: str
    why: str
    headers: tuple[str, ...] = ()
    body: bytes | None = None

    @property
    def name(self) -> str:
        """For people: what it is."""
        return f"{self.group}: {self.method} {self.target[:80]} ({self.why})"

    def at(self, names: Mapping[str, str]) -> "Attack":
        """The same about objects that are there."""
        target = self.target
        for key, value in names.items():
            target = target.replace("{" + key + "}", value)
        return Attack(**{**self.__dict__, "target": target})


def corpus() -> list[Attack]:
    """All of it."""
    found = tomllib.loads(FILE.read_text(encoding="utf-8"))["request"]
    return [
        Attack(**{**each, "headers": tuple(each.get("headers", ())), "body": _body(each)})
        for each in found
    ]


def _body(each: Mapping[str, str]) -> bytes | None:
    text = each.get("body")
    if text is None:
        return None
    return bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()


def outcome(rig: GatewayRig, attack: Attack) -> str:
    """What became of it: `allow`, the rule that denied it, or what else came back."""
    before = len(rig.lines)
    answer = rig.raw(attack.method, attack.target, attack.headers, attack.body)
    said = rig.lines[before:]
    if not said:
        return "malformed" if answer.status in {None, 400} else f"not on record: {answer.status}"
    (line,) = said
    if line["decision"] == "allowed":
        return "allow" if answer.status != 101 else "an upgraded connection"
    return str(line["rule"]) if denied_well(answer, line["rule"]) else f"a bad denial: {answer}"


def denied_well(answer: Raw, rule: str) -> bool:
    """Whether a denial is a Status that says why."""
    if not answer.body:
        return answer.status == 403  # an answer to HEAD has none
    value = json.loads(answer.body)
    expected = 401 if rule == "credential" else None
    return (
        value["kind"] == "Status"
        and value["status"] == "Failure"
        and value["message"].startswith("kubecase: ")
        and value["code"] == answer.status
        and (expected is None or answer.status == expected)
    )


def table(attacks: Sequence[Attack], outcomes: Sequence[str]) -> str:
    """The result as Markdown: by group, how many came out as they must."""
    groups: dict[str, list[bool]] = {}
    for attack, found in zip(attacks, outcomes, strict=True):
        kind = "must pass" if attack.expect == "allow" else "must be denied"
        groups.setdefault(f"{attack.group} | {kind}", []).append(found == attack.expect)
    lines = ["| group | expectation | requests | as expected |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {len(all_)} | {sum(all_)} |" for name, all_ in groups.items()]
    total = sum(map(len, groups.values()))
    right = sum(sum(each) for each in groups.values())
    return "\n".join([*lines, f"| **all** | | {total} | {right} |"])
