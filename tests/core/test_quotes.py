"""Whether what an agent quotes was really said."""

import pytest

from kubecase.core.quotes import checked, quotes_of, verified
from kubecase.core.report import Evidence, Hypothesis, Report

LOG = '2026-01-02T03:04:05Z ERROR relation "orders_v2" does not exist\n  at db.go:12\n'
EVENTS = '{"message": "Back-off restarting \\"app\\"\\nin pod api-0", "count": 7}'


@pytest.mark.parametrize(
    "quote",
    [
        'relation "orders_v2" does not exist',
        'ERROR relation "orders_v2" does not exist at db.go:12',
        '"Back-off restarting "app" in pod api-0"',
        'Back-off restarting \\"app\\"',
        "Back-off restarting ... pod api-0",
        "Back-off [...] api-0",
        "  relation   \"orders_v2\"\tdoes not exist ",
        "`count\": 7`",
    ],
)  # fmt: skip
def test_a_quote_that_was_said_is_found(quote: str) -> None:
    """Blanks, escapes, line ends and a middle left out do not hide a quote."""
    assert verified([quote], [LOG, EVENTS]) == {quote}


@pytest.mark.parametrize(
    "quote",
    [
        'relation "orders_v3" does not exist', "restarting app of pod api-0", "", "...", "api",
        "ERROR ... pod api-0",  # in two different texts
        "RELATION", "count: 7",
    ],
)  # fmt: skip
def test_a_quote_that_was_not_said_is_not(quote: str) -> None:
    """Another word, another order, another text, or too little to prove anything."""
    assert verified([quote], [LOG, EVENTS]) == frozenset()


def test_evidence_is_marked_in_the_report() -> None:
    """Each piece of evidence carries whether its quote was found; the rest of it stays."""
    evidence = tuple(Evidence(source="alert", quote=quote) for quote in ("said", "not said"))
    report = Report(
        summary="x",
        hypotheses=(
            Hypothesis(
                category="app.crash", root_cause="y", culprit=None, confidence=0.5,
                evidence=evidence,
            ),
        ),
    )  # fmt: skip
    assert quotes_of(report) == ("said", "not said")

    (one,) = checked(report, frozenset({"said"})).hypotheses

    assert [each.verified for each in one.evidence] == [True, False]
    assert (one.category, one.root_cause) == ("app.crash", "y")
