"""The corpus of secrets and of what only looks like one: what is missed, and what is masked."""

from pathlib import Path

import pytest

from fakes.redaction_corpus import (
    lines_of_recordings,
    negatives,
    positives,
    unseen,
)
from kubecase.core.redact import Redactor

DATA = Path(__file__).parent.parent / "data"
REDACTOR = Redactor()
POSITIVES, NEGATIVES = positives(), negatives()
RECORDED = lines_of_recordings(
    path.read_text("utf-8", "replace")
    for folder in ("k8s-failures", "triage-cases")
    for path in sorted((DATA / folder).rglob("*"))
    if path.is_file() and path.suffix in {".log", ".txt"}
)


def test_the_corpus_is_as_large_as_it_says() -> None:
    """At least 30 kinds of secrets, 500 texts with one, and 2000 harmless lines."""
    assert len({each.kind for each in POSITIVES}) >= 30
    assert len(POSITIVES) >= 500
    assert len(NEGATIVES) >= 2000
    assert len(RECORDED) >= 100


@pytest.mark.parametrize("held_out", [False, True])
def test_secrets_vanish_wherever_they_stand(held_out: bool) -> None:
    """In each half of the corpus at least 99 of 100 secrets are taken out."""
    texts = [each for each in POSITIVES if each.held_out == held_out]
    missed = [each for each in texts if each.secret in REDACTOR.text(each.text)[0]]
    assert len(missed) <= len(texts) / 100, "\n".join(f"{e.kind}: {e.text}" for e in missed)


def test_most_secrets_vanish_in_formats_tried_afterwards() -> None:
    """Of formats that were tried after the rules were made, 9 of 10 secrets are taken out."""
    texts = unseen()
    missed = [each for each in texts if each.secret in REDACTOR.text(each.text)[0]]
    assert len(missed) <= len(texts) / 10, "\n".join(f"{e.kind}: {e.text}" for e in missed)


def test_harmless_lines_stay_as_they_are() -> None:
    """At most one of 200 harmless lines is touched."""
    touched = [text for text in NEGATIVES if REDACTOR.text(text)[1]]
    assert len(touched) <= len(NEGATIVES) / 200, "\n".join(touched)


def test_recorded_logs_stay_as_they_are() -> None:
    """The logs of real failures, in which there is no secret, are not touched."""
    touched = [line for line in RECORDED if REDACTOR.text(line)[1]]
    assert len(touched) <= len(RECORDED) / 200, "\n".join(touched)
