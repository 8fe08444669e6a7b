"""`kubecase list`, `show`, `tail` and `cancel`: what is on record, and stopping what runs.

Those that only read adopt nothing: an investigation whose kubecase was killed is shown as that.
"""

import json as jsonlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter

from kubecase.app.boundary import AGENT_FAILED, SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Json, Shared

if TYPE_CHECKING:
    from kubecase.app.settings import Settings
    from kubecase.core.redact import Redactor
    from kubecase.store import Row, Store, Story
    from kubecase.store.desk import Course

T = TypeVar("T")


def list_(
    *,
    limit: Annotated[int, Parameter(alias="-l")] = 20,
    status: str | None = None,
    waiting: Annotated[bool, Parameter(alias="-w", negative="")] = False,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """List incidents, newest first.

    Parameters
    ----------
    limit
        How many at most.
    status
        created, starting, running, success, failed, timeout or cancelled: only those.
    waiting
        Those that the service has not begun yet instead, the most urgent first.
    json
        Print a JSON array.
    """
    from kubecase.app.show import print_rows, row_as_json
    from kubecase.app.wiring import now
    from kubecase.core.errors import KubecaseError
    from kubecase.core.model import Status

    if waiting:
        return _list_waiting(shared, limit, json=json)
    if status is not None and status not in set(Status):
        raise KubecaseError(f"no status {status!r}", hint=f"There are: {', '.join(Status)}.")
    wanted = Status(status) if status else None

    async def ask(store: "Store") -> "tuple[tuple[Row, ...], frozenset[str]]":
        rows = await store.list_investigations(limit=limit, status=wanted)
        return rows, frozenset(each.investigation.key for each in await store.orphans())

    rows, orphans = _ask(shared, ask)
    if json:
        print(jsonlib.dumps([row_as_json(row, now(), orphans) for row in rows], indent=2))
    elif rows:
        print_rows(rows, now(), orphans)
    else:
        print("no incidents on record; try: kubecase demo", file=sys.stderr)
    if orphans:
        print(
            f"kubecase: {len(orphans)} investigations have lost their kubecase; "
            "`kubecase recover` brings them to their end",
            file=sys.stderr,
        )
    return SUCCESS


def _list_waiting(shared: Shared, limit: int, *, json: bool) -> int:
    from kubecase.app.show import print_waiting, waiting_as_json
    from kubecase.app.wiring import now
    from kubecase.core.intake import priority

    found = _ask(shared, lambda store: store.desk.to_be_worked())
    queued = [each for each in found if each.state == "queued"]
    queued.sort(key=lambda each: (-priority(each.severity), each.queued_at))
    if json:
        print(jsonlib.dumps([waiting_as_json(each, now()) for each in queued[:limit]], indent=2))
    elif queued:
        print_waiting(queued[:limit], now())
    else:
        print("no incident waits", file=sys.stderr)
    return SUCCESS


def feedback(
    incident: str,
    verdict: str,
    /,
    *,
    cause: str | None = None,
    note: str | None = None,
    by: str | None = None,
    shared: Shared = DEFAULT,
) -> int:
    """Say whether a report was right, so that its quality can be measured.

    Parameters
    ----------
    incident
        Its id, a unique beginning of four characters or more, or @last.
    verdict
        right or wrong.
    cause
        The true cause, as one of the categories that reports use, or in words.
    note
        Anything else.
    by
        Who says so.
    """
    from kubecase.core.errors import KubecaseError

    if verdict not in {"right", "wrong"}:
        raise KubecaseError(f"{verdict!r} is no verdict", hint="Say right or wrong.")

    async def keep(store: "Store", settings: "Settings") -> str:
        found = await store.resolve(incident)
        texts = {"cause": cause, "note": note, "by": by}
        cut = {key: value and value[:2000] for key, value in texts.items()}
        await store.desk.add_feedback(found, verdict, **cut)
        return found

    print(f"{_with_store(shared, keep)}: {verdict}, thank you", file=sys.stderr)
    return SUCCESS


def show(incident: str, /, *, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Show one incident: its fault, every attempt with its transitions, and the conclusion.

    Parameters
    ----------
    incident
        Its id, a unique beginning of four characters or more, or @last.
    json
        Print the AgentResult of each attempt, transitions and reports as JSON.
    """
    from kubecase.app.show import print_story
    from kubecase.app.story import story_as_json
    from kubecase.app.wiring import now
    from kubecase.core.redact import Redactor as MakeRedactor

    async def ask(store: "Store", settings: "Settings") -> "tuple[Story, Course, Redactor]":
        found = await store.resolve(incident)
        course = await store.desk.course(found)
        return await store.story(found), course, MakeRedactor(settings.secrets)

    story, course, redactor = _with_store(shared, ask)
    if json:
        print(jsonlib.dumps(story_as_json(story, now(), redactor, course), indent=2))
    else:
        print_story(story, now(), redactor, course)
    return SUCCESS


def tail(
    incident: str,
    /,
    *,
    follow: Annotated[bool, Parameter(alias="-f", negative="")] = False,
    lines: Annotated[int, Parameter(alias="-n")] = 50,
    events: Annotated[bool, Parameter(alias="-e", negative="")] = False,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Print the end of the agent's log; with --follow, go on until it has ended.

    With --events, what the agent did instead: messages, tool calls with their arguments, results,
    refusals, usage, in the same words for every agent.

    Parameters
    ----------
    incident
        Its id, a unique beginning of four characters or more, or @last.
    follow
        Go on printing while the agent runs.
    lines
        How many lines, or events, of what is there already.
    events
        Print what the agent did rather than what it printed.
    json
        One JSON object for each event; implies --events.
    """
    from kubecase.app.activity import print_activity
    from kubecase.app.tail import print_log

    if events or json:
        return _with_store(
            shared,
            lambda store, settings: print_activity(
                store, settings, incident, last=lines, follow=follow, as_json=json
            ),
        )
    return _with_store(
        shared, lambda store, settings: print_log(store, settings, incident, lines, follow)
    )


def cancel(
    incident: str, /, *, wait: str = "60s", json: Json = False, shared: Shared = DEFAULT
) -> int:
    """Stop an investigation, whoever started it, and wait until its process is gone.

    Asking twice is the same as asking once. Exit code 1 when it had ended already.

    Parameters
    ----------
    incident
        Its id, a unique beginning of four characters or more, or @last.
    wait
        How long to wait for its end, such as 60s.
    json
        Print what was found and done as JSON.
    """
    from kubecase.app.cancel import cancel_incident
    from kubecase.app.settings import parse_duration
    from kubecase.core.errors import KubecaseError

    try:
        seconds = parse_duration(wait)
    except ValueError as error:
        raise KubecaseError(f"--wait {error}", hint="Write it as 60s or 2m.") from None
    outcome = _with_store(
        shared, lambda store, settings: cancel_incident(store, settings, incident, seconds)
    )
    if json:
        print(jsonlib.dumps(outcome.as_json(), indent=2))
    else:
        print(printable(outcome.in_words()))
    return SUCCESS if outcome.stopped else AGENT_FAILED


def verify(incident: str, /, *, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Check that nothing on record about an incident was changed: every line, answer and artifact.

    Exit code 1 when something was; the first bad line of a record is named.

    Parameters
    ----------
    incident
        Its id, a unique beginning of four characters or more, or @last; or the file of a record,
        such as `kubecase gateway` names.
    json
        Print what was looked at as a JSON array.
    """
    from kubecase.app.verify import verify_file, verify_incident

    if incident.endswith(".jsonl"):
        looked = verify_file(Path(incident))
    else:
        looked = _with_store(shared, lambda store, all_: verify_incident(store, all_, incident))
    if json:
        print(jsonlib.dumps([each.as_json() for each in looked], indent=2))
    else:
        words = {True: "holds", False: "DOES NOT HOLD", None: "nothing to check"}
        for each in looked:
            print(printable(f"{each.what}: {words[each.holds]}: {each.says}"))
    return AGENT_FAILED if any(each.holds is False for each in looked) else SUCCESS


def _ask(shared: Shared, question: "Callable[[Store], Awaitable[T]]") -> T:
    return _with_store(shared, lambda store, _: question(store))


def _with_store(shared: Shared, work: "Callable[[Store, Settings], Awaitable[T]]") -> T:
    import anyio

    from kubecase.app.wiring import opened_store
    from kubecase.core.ports import Silence

    settings = shared.settings().settings

    async def run() -> T:
        async with opened_store(settings, Silence()) as store:
            return await work(store, settings)

    return anyio.run(run)
