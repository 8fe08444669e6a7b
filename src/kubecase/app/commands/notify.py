"""`kubecase notify`: tell people of an incident, try a sink, send what could not be sent."""

import json as jsonlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from kubecase.app.boundary import AGENT_FAILED, SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Json, Shared

if TYPE_CHECKING:
    from kubecase.app.settings import Settings
    from kubecase.service.outbox import Outbox, Sent

app = App(
    name="notify",
    help="Tell people: of an incident (`kubecase notify ID`), as a test, or what waits.",
)


@app.default
def notify(
    incident: str | None = None,
    /,
    *,
    sink: str | None = None,
    due: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    shared: Shared = DEFAULT,
) -> int:
    """Tell of an incident's latest attempt now, whatever the sinks ask for, also once more.

    With --due instead: send all that waits in the outbox and is due. Exit code 1 when something
    did not arrive; it stays in the outbox unless the receiver refused it for good.

    Like this:

        kubecase notify @last
        kubecase notify 3f1c --sink team
        kubecase notify --due

    Parameters
    ----------
    incident
        Its id, a unique beginning of four characters or more, or @last.
    sink
        Name of the sink; all of them if left out.
    due
        Send what is due, of every incident.
    json
        Print what became of each message as a JSON array.
    """
    from kubecase.core.errors import KubecaseError

    if (incident is None) is not due or (due and sink is not None):
        raise KubecaseError(
            "say either which incident people are to be told of, or --due",
            hint="`kubecase notify ID [--sink NAME]`, or `kubecase notify --due`.",
        )
    if incident is None:
        return _told(_run(shared, _send_due), json=json)
    return _told(
        _run(shared, lambda box, settings: _tell(box, settings, incident, sink)), json=json
    )


async def _send_due(outbox: "Outbox", settings: "Settings") -> "Sequence[Sent]":
    from kubecase.app.notices import chosen_sinks

    chosen_sinks(settings, None)
    return await outbox.send_due()


async def _tell(
    outbox: "Outbox", settings: "Settings", incident: str, sink: str | None
) -> "Sequence[Sent]":
    from kubecase.app.notices import chosen_sinks
    from kubecase.core.errors import KubecaseError
    from kubecase.core.lifecycle import is_final
    from kubecase.core.messages import ENDED
    from kubecase.store import Addressed

    chosen = chosen_sinks(settings, sink)
    incident_id = await outbox.store.resolve(incident)
    done = await outbox.store.status(incident_id)
    if not is_final(done.status):
        raise KubecaseError(
            f"cannot tell of incident {incident_id}: its attempt {done.attempt} has not ended",
            hint=f"Follow it with `kubecase tail {incident_id}`.",
        )
    # By its moment: whoever asks again wants it once more.
    key, subject = outbox.clock().isoformat(), (incident_id, done.attempt)
    await outbox.store.deliveries.put(
        *(Addressed(sink=name, kind=ENDED, subject=subject, payload={}, key=key) for name in chosen)
    )
    return await outbox.send_due(incident_id=incident_id)


@app.command(name="test")
def try_sink(name: str, /, *, json: Json = False, shared: Shared = DEFAULT) -> int:
    """Send a test message to one sink. Exit code 1 when it did not arrive; it is not kept then.

    Parameters
    ----------
    name
        Name of the sink under `sinks`.
    json
        Print what became of it as a JSON array.
    """
    from kubecase.app.notices import chosen_sinks
    from kubecase.core.errors import NotDelivered
    from kubecase.core.messages import TRIAL, Trial
    from kubecase.service.outbox import Sent

    async def work(outbox: "Outbox", settings: "Settings") -> "Sequence[Sent]":
        (sink,) = chosen_sinks(settings, name)
        at = outbox.clock()
        try:
            await outbox.sinks[sink].send(Trial(at=at), reference=f"trial-{at:%Y%m%dT%H%M%S%f}")
        except NotDelivered as error:
            return [Sent(sink=sink, kind=TRIAL, incident_id=None, outcome="given_up", error=error)]
        return [Sent(sink=sink, kind=TRIAL, incident_id=None, outcome="delivered")]

    return _told(_run(shared, work), json=json)


def _run(
    shared: Shared, work: "Callable[[Outbox, Settings], Awaitable[Sequence[Sent]]]"
) -> "Sequence[Sent]":
    from contextlib import closing

    import anyio

    from kubecase.app.logs import LogObserver, configure_logs
    from kubecase.app.notices import outbox_of
    from kubecase.app.wiring import opened_store

    settings = shared.settings().settings

    async def inside() -> "Sequence[Sent]":
        logs = configure_logs(
            settings.store.data_dir / "kubecase.log",
            level=settings.agent_runtime.log_level,
            structured=settings.agent_runtime.structured_logging,
            secrets=settings.secrets,
        )
        with closing(logs):
            observer = LogObserver(logs)
            async with opened_store(settings, observer) as store:
                return await work(outbox_of(settings, store, observer), settings)

    return anyio.run(inside)


def _told(done: "Sequence[Sent]", *, json: bool) -> int:
    from kubecase.app.notices import in_words, tell_trouble

    if json:
        print(
            jsonlib.dumps(
                [
                    {
                        "sink": each.sink,
                        "kind": each.kind,
                        "incident_id": each.incident_id,
                        "outcome": each.outcome,
                        "error": None if each.error is None else str(each.error),
                    }
                    for each in done
                ],
                indent=2,
            )
        )
    else:
        print(printable("\n".join(in_words(done))) if done else "nothing is due")
    for each in done:
        tell_trouble(each)
    sys.stdout.flush()
    return SUCCESS if all(each.outcome in {"delivered", "lost"} for each in done) else AGENT_FAILED
