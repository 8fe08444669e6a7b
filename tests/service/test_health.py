"""When people hear that an agent keeps failing, and that it answers again."""

from datetime import timedelta

import pytest

from fakes.incidents import after
from kubecase.core.messages import Degraded, Recovered
from kubecase.core.model import Reason, Status
from kubecase.service.health import message_after
from kubecase.store.ends import AgentEnd


def ends(word: str) -> list[AgentEnd]:
    """Ends of an agent a minute apart, the latest first: `f` failed, `t` timed out, `s` success."""
    kinds = {
        "f": (Status.FAILED, Reason.QUOTA),
        "t": (Status.TIMEOUT, None),
        "s": (Status.SUCCESS, None),
    }
    return [
        AgentEnd(
            status=kinds[each][0],
            reason=kinds[each][1],
            ended_at=after(0) - timedelta(minutes=n),
        )
        for n, each in enumerate(word)
    ]


@pytest.mark.parametrize("word", ["", "s", "f", "ff", "ffff", "ffsfff", "sff", "ssfff", "sffs"])
def test_nothing_is_told_before_and_after_the_turn(word: str) -> None:
    """Neither too few failures, nor more than enough, nor a success among successes is news."""
    assert message_after("claude", ends(word), failures=3) is None


def test_the_last_failure_of_the_row_is_told() -> None:
    """Count, window and the last three reasons, newest first (docs/formats.md 5)."""
    assert message_after("claude", ends("tffsff"), failures=3) == Degraded(
        agent="claude", failures=3, window=120.0, reasons=("timeout", "quota", "quota"), at=after(0)
    )


def test_the_first_success_after_the_row_is_told() -> None:
    """The time since it counted as degraded, and how often it failed in total."""
    assert message_after("claude", ends("sfffffs"), failures=3) == Recovered(
        agent="claude", downtime=180.0, failures=5, at=after(0)
    )
