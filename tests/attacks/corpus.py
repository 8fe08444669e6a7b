"""The corpus of raw requests, and how each is judged; also a program of its own.

    python tests/attacks/corpus.py --kubeconfig FILE

runs all of it through a gateway before a real cluster, prints what came of each, and exits with 1
if one came out otherwise than written. It only reads, whatever the gateway lets pass: see rbac.md.
"""

import argparse
import json
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes.kube_api import Authority, FakeCluster, recorded
from fakes.kube_rig import GatewayRig, Raw
from kubecase.gateways.cluster_call import ClusterLimits
from kubecase.gateways.policy import Bounds

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


LIMITS = ClusterLimits(
    requests=10**6, denials=10**6, follow_seconds=0.5, bounds=Bounds(watch_seconds=1)
)


def names_through(rig: GatewayRig) -> dict[str, str]:
    """What the placeholders stand for in this cluster: one Deployment, and one pod of its place."""
    found = json.loads(rig.raw("GET", "/apis/apps/v1/deployments?limit=50").body)["items"]
    for deployment in (each["metadata"] for each in found):
        place = f"/api/v1/namespaces/{deployment['namespace']}/pods?limit=1"
        for pod in json.loads(rig.raw("GET", place).body)["items"]:
            return {
                "namespace": deployment["namespace"],
                "deployment": deployment["name"],
                "pod": pod["metadata"]["name"],
                "container": pod["spec"]["containers"][0]["name"],
                "node": pod["spec"].get("nodeName", "none"),
            }
    raise SystemExit("there is no Deployment with a pod in this cluster")


def run_all(kubeconfig: Path, directory: Path) -> tuple[list[Attack], list[str]]:
    """Send everything through a gateway before the cluster of this kubeconfig."""
    with GatewayRig(kubeconfig, directory, limits=LIMITS) as rig:
        names = names_through(rig)
        attacks = [each.at(names) for each in corpus()]
        return attacks, [outcome(rig, each) for each in attacks]


def main() -> int:
    """Run it before a real cluster, or before the fake one; print the table and what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="a real cluster; else the fake one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if given.kubeconfig is not None:
            attacks, outcomes = run_all(given.kubeconfig, directory / "rig")
        else:
            authority = Authority.make(directory)
            with FakeCluster(recorded("crashloop"), token="real", authority=authority) as fake:
                attacks, outcomes = run_all(fake.kubeconfig(directory / "real"), directory / "rig")
                if fake.reached:
                    print(f"came to a door: {fake.reached}")
    print(table(attacks, outcomes))
    wrong = [(a, o) for a, o in zip(attacks, outcomes, strict=True) if a.expect != o]
    for attack, found in wrong:
        print(f"{attack.name}: expected {attack.expect}, got {found}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
