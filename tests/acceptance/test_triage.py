"""The built-in investigator by the command line, scored by a program that knows nothing of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

from .conftest import Home

CASES = Path(__file__).parent.parent / "data" / "triage-cases"


def _score(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, CASES / "score.py", *map(str, words)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_cases_are_scored_through_the_command(home: Home) -> None:
    """Exported cases, diagnosed by the command, score at least 9 of 12 right with real quotes."""
    inputs, reports = home.root / "in", home.root / "out"
    _score("export", "--cases", CASES / "cases", "--out", inputs)

    done = home.run("diagnose", str(inputs), "--out", str(reports))
    score = _score("score", "--cases", CASES / "cases", "--reports", reports)

    assert done.returncode == 0, done.stderr.decode()
    expected = {
        p.stem: json.loads(p.read_text())["expected"] for p in (CASES / "cases").glob("*.json")
    }
    right = 0
    for name, answer in expected.items():
        hypotheses = json.loads((reports / f"{name}.json").read_text())["hypotheses"]
        first = hypotheses[0]["category"] if hypotheses else "none.no_fault"
        right += first == answer["category"]
    assert right >= 9, score


def test_names_do_not_matter(home: Home) -> None:
    """The same categories come out when every name, namespace and id is replaced."""
    inputs, renamed = home.root / "in", home.root / "renamed"
    _score("export", "--cases", CASES / "cases", "--out", inputs)
    renamed.mkdir()
    for path in inputs.glob("*.json"):
        (renamed / path.name).write_text(rename(path.read_text()))

    for folder, out in ((inputs, "out1"), (renamed, "out2")):
        assert home.run("diagnose", str(folder), "--out", str(home.root / out)).returncode == 0

    for path in sorted(inputs.glob("*.json")):
        assert _category(home.root / "out1" / path.name) == _category(
            home.root / "out2" / path.name
        ), path.stem


def _category(path: Path) -> str | None:
    hypotheses = json.loads(path.read_text())["hypotheses"]
    return hypotheses[0]["category"] if hypotheses else None


def rename(text: str) -> str:
    """`text` of a case with the names, namespaces and ids of its objects replaced everywhere."""
    inputs = json.loads(text)["inputs"]
    words: set[str] = set()
    for item in [*inputs["objects"], *inputs["events"]]:
        meta = item.get("metadata", {})
        words |= {str(meta.get(key)) for key in ("name", "namespace", "uid") if meta.get(key)}
    keep = {"default", "kube-system", "kubernetes", "kube-dns", "coredns", "standard"}
    for number, word in enumerate(sorted(words - keep, key=len, reverse=True)):
        if len(word) >= 2:
            text = re.sub(rf"(?<![\w.]){re.escape(word)}(?![\w])", f"zz{number}q", text)
    return text
