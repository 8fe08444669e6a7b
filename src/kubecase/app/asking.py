"""Who is asked about an incident: one agent and those behind it, or several at once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubecase.app import wiring
from kubecase.app.settings import Loaded, Settings
from kubecase.app.wiring import BUILTIN, Choice
from kubecase.core.ports import Collector, Observer

if TYPE_CHECKING:
    from kubecase.clusters import ClusterCollector
    from kubecase.service import Attempts, Breaker, Investigator, Panel
    from kubecase.store import Store


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The agents that the settings name: `first` is asked, or each of `several`; then `chain`."""

    first: Choice
    several: tuple[Choice, ...]
    chain: tuple[Choice, ...]

    def in_words(self) -> str:
        """Who is asked, for people."""
        if self.several:
            return " and ".join(each.name for each in self.several)
        return f"{self.first.name} ({self.first.why})" if self.first.chosen else self.first.name


def who_is_asked(settings: Settings) -> Asked:
    """The agents that the settings name. Raises AgentUnavailable for one that does not exist.

    The built-in investigator is left out of the chain: what it found stands in every report.
    """
    runtime = settings.agent_runtime
    several = tuple(
        wiring.named_choice(name, settings, "as configured")
        for name in dict.fromkeys(runtime.agents)
    )
    first = several[0] if several else wiring.choose_agent(settings)
    if len(several) < 2:
        several = ()
    taken = {each.name for each in several} or {first.name}
    chain = tuple(
        wiring.named_choice(name, settings, "as fallback")
        for name in dict.fromkeys(runtime.fallback)
        if name != BUILTIN and name not in taken
    )
    # Without an agent there is none that could fail.
    return Asked(first=first, several=several, chain=() if first.agent is None else chain)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Makes what works one incident, from the settings."""

    loaded: Loaded
    store: "Store"
    observer: Observer

    def about(
        self, asked: Asked, collector: Collector, reached: "ClusterCollector | None"
    ) -> "Attempts | Panel":
        """What works an incident whose facts `collector` finds; `reached` is what agents are
        served. Raises KubecaseError for settings that cannot work.
        """
        from kubecase.service import Panel

        def made(choice: Choice) -> "Investigator":
            return wiring.investigator(
                self.loaded.settings, choice=choice, store=self.store, collector=collector,
                observer=self.observer, reached=reached,
            )  # fmt: skip

        if not asked.several:
            return self._attempts(made(asked.first), *map(made, asked.chain), last=made(_BUILTIN))
        return Panel(
            members=[self._attempts(made(each)) for each in asked.several],
            order=self.loaded.settings.agent_runtime.agents_order,
            store=self.store,
            otherwise=self._attempts(*map(made, asked.chain)) if asked.chain else None,
        )

    def _attempts(self, *chain: "Investigator", last: "Investigator | None" = None) -> "Attempts":
        from kubecase.service import Attempts

        runtime = self.loaded.settings.agent_runtime
        return Attempts(
            chain=chain,
            observer=self.observer,
            retries=runtime.retries,
            delay=runtime.retry_delay_seconds,
            breaker=None if last is None else self._breaker(),
            builtin=last,
        )

    def _breaker(self) -> "Breaker | None":
        """None where it is off, and where a person has named the agent for this one run."""
        from kubecase.service import Breaker

        runtime = self.loaded.settings.agent_runtime
        by_hand = self.loaded.origin("agent_runtime.agent").kind == "flag"
        if not runtime.breaker_failures or by_hand:
            return None
        return Breaker(
            store=self.store,
            clock=wiring.now,
            failures=runtime.breaker_failures,
            cooldown=runtime.breaker_cooldown_seconds,
        )


_BUILTIN = Choice(name=BUILTIN, agent=None, why="nobody else was asked", chosen=False)
