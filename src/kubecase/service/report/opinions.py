"""What several agents found about one incident, side by side, and where they agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubecase.core.model import Investigation, Status

MAX_OPINIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """Another agent's investigation of the same incident.

    `answer` is its report in machine form as `final-report.json` has it, None without one; `report`
    is where its own final report lies, for people.
    """

    investigation: Investigation
    answer: Mapping[str, Any] | None
    report: str | None


def opinions_shown(
    opinions: Sequence[Opinion], answer: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Each opinion as plain values, compared with `answer`, the report that it stands beside."""
    shown = []
    for opinion in opinions[:MAX_OPINIONS]:
        done, theirs = opinion.investigation, _best(opinion.answer)
        shown.append(
            {
                "agent": done.agent,
                "attempt": done.attempt,
                "status": done.status.value,
                "reason": done.reason.value if done.reason else None,
                "error": None if done.status is Status.SUCCESS else done.error,
                "summary": None if opinion.answer is None else opinion.answer.get("summary"),
                "cause": theirs,
                "extracted": bool(opinion.answer and opinion.answer.get("extracted")),
                "agreement": compared(_best(answer), theirs),
                "report": opinion.report,
            }
        )
    return shown


def compared(mine: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None) -> dict[str, str]:
    """Whether two best hypotheses name the same cause and the same culprit.

    `cause` and `culprit` are `same`, `related` (causes of one group), `different` or `unknown`;
    `words` says it in a sentence.
    """
    if mine is None or theirs is None:
        return {
            "cause": "unknown",
            "culprit": "unknown",
            "words": "Only one of them names a cause, so there is nothing to compare.",
        }
    cause = _compared_causes(mine.get("category"), theirs.get("category"))
    culprit = _compared_culprits(mine.get("culprit"), theirs.get("culprit"))
    return {"cause": cause, "culprit": culprit, "words": _words(cause, culprit, mine, theirs)}


def _best(answer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    hypotheses = answer.get("hypotheses") if answer else None
    return dict(hypotheses[0]) if hypotheses else None


def _compared_causes(mine: str | None, theirs: str | None) -> str:
    if not mine or not theirs:
        return "unknown"
    if mine == theirs:
        return "same"
    return "related" if mine.partition(".")[0] == theirs.partition(".")[0] else "different"


def _compared_culprits(mine: Mapping[str, str] | None, theirs: Mapping[str, str] | None) -> str:
    if not mine or not theirs:
        return "unknown"
    keys = ("kind", "namespace", "name")
    same = all(_folded(mine.get(key)) == _folded(theirs.get(key)) for key in keys)
    return "same" if same else "different"


def _folded(value: str | None) -> str:
    return (value or "").strip().lower()


def _words(cause: str, culprit: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    causes = {
        "same": f"Both name the cause {mine.get('category')}",
        "related": f"They name related causes, {mine.get('category')} and {theirs.get('category')}",
        "different": f"They differ: {mine.get('category')} against {theirs.get('category')}",
        "unknown": "Not both name a cause of the list, so their words have to be compared by eye",
    }
    culprits = {
        "same": "and the same culprit",
        "different": "and blame different objects",
        "unknown": "and not both name a culprit",
    }
    return f"{causes[cause]}, {culprits[culprit]}."
