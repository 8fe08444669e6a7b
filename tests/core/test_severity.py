"""The many words for how bad a fault is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubecase.core.severity import Severity, severity_of

WORDS = {
    Severity.CRITICAL: ["critical", "error", "high", "P1", "P2"],
    Severity.WARNING: ["warning", "medium", "P3"],
    Severity.INFO: ["info", "low", "P4"],
}
KNOWN = [(word, severity) for severity, words in WORDS.items() for word in words]


@pytest.mark.parametrize(("word", "severity"), KNOWN)
def test_known_words_are_understood_in_any_case(word: str, severity: Severity) -> None:
    """Each word of the table means its severity, in any case and with space around it."""
    for spelled in (word, word.upper(), word.lower(), word.title(), f" {word}\n"):
        assert severity_of(spelled) == (severity, True)


@pytest.mark.parametrize("word", ["", "none", "P5", "P0", "fatal", "critical!", "кritical", "0"])
def test_an_unknown_word_counts_as_a_warning_and_is_told(word: str) -> None:
    """What nobody knows is a warning, and the caller learns that it was a guess."""
    assert severity_of(word) == (Severity.WARNING, False)


@given(st.text(max_size=30))
def test_every_text_has_a_severity(word: str) -> None:
    """No word of a source makes intake fail."""
    severity, known = severity_of(word)

    assert severity in Severity
    assert known or severity is Severity.WARNING


def test_severities_can_be_ranked() -> None:
    """Critical comes before warning and warning before info in every queue."""
    assert sorted(Severity, key=lambda s: s.rank) == [
        Severity.INFO, Severity.WARNING, Severity.CRITICAL,
    ]  # fmt: skip
    assert [s.value for s in Severity] == ["info", "warning", "critical"]
