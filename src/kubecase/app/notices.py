"""Telling people: the outbox made from the settings, and what is said of it."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from kubecase.app import plugins, wiring
from kubecase.app.boundary import printable
from kubecase.app.settings import Settings
from kubecase.core.errors import KubecaseError, SettingsInvalid
from kubecase.core.ports import Observer, Sink
from kubecase.core.redact import Redactor
from kubecase.core.severity import Severity
from kubecase.service.outbox import Outbox, Sent
from kubecase.service.routes import Route

if TYPE_CHECKING:
    from kubecase.service import Concluded
    from kubecase.store import Store

BEFORE_EXIT_SECONDS = 20.0
"""How long a command stays to tell people; what is not told by then is told later."""


def routes_of(settings: Settings) -> tuple[Route, ...]:
    """Which messages go to which of the configured sinks."""
    return tuple(
        Route(
            sink=name,
            on=frozenset(each.on),
            min_severity=Severity(each.min_severity),
            clusters=frozenset(each.clusters),
        )
        for name, each in settings.sinks.items()
    )


def sinks_of(settings: Settings) -> dict[str, Sink]:
    """Every configured sink by its name. Raises SettingsInvalid for an unknown kind."""
    from kubecase.channels.sinks.options import SinkOptions
    from kubecase.channels.sinks.posting import Way

    return {
        name: plugins.sink(
            each.kind,
            name,
            SinkOptions(
                name=name,
                url=each.secrets.address,
                secret=each.secrets.key,
                way=Way(proxy=each.proxy, ca=each.ca),
            ),
        )
        for name, each in settings.sinks.items()
    }


def outbox_of(settings: Settings, store: "Store", observer: Observer) -> Outbox:
    """What sends messages through the configured sinks."""
    return Outbox(
        store=store,
        sinks=sinks_of(settings),
        routes=routes_of(settings),
        observer=observer,
        redactor=Redactor(settings.secrets),
        clock=wiring.now,
    )


def chosen_sinks(settings: Settings, sink: str | None) -> tuple[str, ...]:
    """The sink of that name, or all of them. Raises SettingsInvalid."""
    known = tuple(settings.sinks)
    if not known:
        raise SettingsInvalid(
            "cannot tell anybody: no sink is configured",
            hint="Add a section `sinks` to the settings; docs/notices.md has examples.",
        )
    if sink is not None and sink not in known:
        raise SettingsInvalid(
            f"no sink is called {sink!r}", hint=f"Configured under `sinks` are: {', '.join(known)}."
        )
    return known if sink is None else (sink,)


async def tell_conclusion(settings: Settings, outbox: Outbox, concluded: "Concluded") -> bool:
    """Put into the outbox what `concluded` makes true, as far as it is not there already; whether
    it says something of the agent, too. Raises StoreUnavailable.
    """
    done = concluded.investigation
    story = await outbox.store.story(done.incident_id)
    # Of several agents none was told of by itself; of one alone this is on record already.
    await outbox.tell_end(story.incident, done)
    failures = settings.agent_runtime.breaker_failures
    if not failures or done.agent == wiring.BUILTIN:
        return False
    return await outbox.tell_health(done.agent, failures=failures)


async def tell_before_exit(
    settings: Settings, store: "Store", observer: Observer, concluded: "Concluded"
) -> None:
    """One try, bounded in time, to tell of what has just been concluded; it is on record anyway.

    Nothing that goes wrong here changes what the investigation found: it is said, and tried later.
    """
    if not settings.sinks:
        return
    try:
        outbox = outbox_of(settings, store, observer)
        with anyio.move_on_after(BEFORE_EXIT_SECONDS) as limit:
            more = await tell_conclusion(settings, outbox, concluded)
            about = None if more else concluded.investigation.incident_id
            for sent in await outbox.send_due(incident_id=about):
                tell_trouble(sent)
        if limit.cancelled_caught:
            print(f"kubecase: warning: {_LATER}", file=sys.stderr)
    except KubecaseError as error:
        print(f"kubecase: warning: nobody was told: {printable(error)}", file=sys.stderr)


def tell_trouble(sent: Sent) -> None:
    """Say on standard error what did not arrive, and what becomes of it."""
    if sent.error is None:
        return
    after = "it is given up" if sent.outcome == "given_up" else _LATER
    print(f"kubecase: warning: {printable(sent.error)}; {after}", file=sys.stderr)
    if sent.error.hint:
        print(f"  → {printable(sent.error.hint)}", file=sys.stderr)


def in_words(done: Sequence[Sent]) -> list[str]:
    """A line for each message that was tried."""
    outcomes = {
        "delivered": "delivered",
        "later": "not delivered, will be tried again",
        "given_up": "given up",
        "lost": "left to another process",
    }
    return [
        f"{each.sink}: {each.kind} of {each.incident_id or 'kubecase'}: {outcomes[each.outcome]}"
        for each in done
    ]


_LATER = "it stays in the outbox; `kubecase notify --due` tries it again"
