"""What a run asked of its model: tokens, money, and what stood in the way. Pure values.

The model gateway counts; whoever judges a run is handed the record beside the CLI's own claim,
because CLIs exit with 0 after a refused key and say nothing of a budget.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from kubecase.core.model import Reason, Usage, Verdict


class Trouble(StrEnum):
    """Why a model call did not succeed: a closed list.

    `auth`: the upstream refuses the key; `quota`: it is asked too much, also after retries;
    `transient`: it failed or was cut off, which may pass; `refused`: it, or a rule of ours, does
    not want this request; `budget`: the money, tokens or requests of the run are used up; `tools`:
    the CLI offers its model a tool that it was not given.
    """

    AUTH = "auth"
    QUOTA = "quota"
    TRANSIENT = "transient"
    REFUSED = "refused"
    BUDGET = "budget"
    TOOLS = "tools"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of model calls. `input` is what was neither read from nor written to a cache.

    `cache_write_long` are those written to a cache that lasts an hour, which cost more.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_long: int = 0
    output: int = 0

    @property
    def all_input(self) -> int:
        """Everything that went in, cached or not."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_long

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            input=self.input + other.input,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            cache_write_long=self.cache_write_long + other.cache_write_long,
            output=self.output + other.output,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRecord:
    """What the model gateway saw of one run.

    `turns` are model calls that were answered, `refused` requests that were not let through.
    `cost_usd` is `None` as soon as one model had no price: those are in `unknown_models`, and
    `known_cost_usd` is the part that is known. `estimated` says that some answer brought no count
    of its own and was estimated from its size. `last_trouble` is that of the last call, `None`
    after a good one; `used_up` says which budget ended the run, `strange` which tool that its CLI
    was not given. `models` are those that were asked for. `failed` are the calls in a row that
    the server has failed up to now; `gave_up` says that they ended the run, and `gave_up_for`
    of which kind the last of them was.
    """

    turns: int = 0
    refused: int = 0
    tokens: Tokens = Tokens()
    known_cost_usd: float = 0.0
    unknown_models: tuple[str, ...] = ()
    estimated: bool = False
    last_trouble: Trouble | None = None
    last_says: str | None = None
    used_up: str | None = None
    strange: str | None = None
    models: tuple[str, ...] = ()
    failed: int = 0
    gave_up: str | None = None
    gave_up_for: Trouble | None = None

    @property
    def cost_usd(self) -> float | None:
        """What it cost in US dollars; `None` when a price is not known, never a guess."""
        return None if self.unknown_models else self.known_cost_usd

    @property
    def usage(self) -> Usage:
        """The same in the words of an investigation's record."""
        return Usage(
            input_tokens=self.tokens.all_input,
            output_tokens=self.tokens.output,
            cost_usd=self.cost_usd,
            turns=self.turns,
        )


_REASONS = {Trouble.AUTH: Reason.AUTH, Trouble.QUOTA: Reason.QUOTA}


def corrected(verdict: Verdict, record: GatewayRecord) -> Verdict:
    """The CLI's claim, put right by what the gateway saw; the report stays whatever it is.

    A CLI that offered its model another tool than it was given was not started as it should be.
    A used-up budget is the reason whatever the CLI makes of the refusal. A run whose last call was
    refused for its key or its quota has failed even where the CLI exits with 0. A failure that may
    pass is marked so. Usage is what was counted here, if any call was.
    """
    usage = record.usage if record.turns or record.refused else verdict.usage
    verdict = replace(verdict, usage=usage, model=verdict.model or next(iter(record.models), None))
    if record.strange is not None:
        return replace(verdict, reason=Reason.START_ERROR, failure=record.strange, transient=False)
    if record.used_up is not None:
        return replace(verdict, reason=Reason.BUDGET, failure=record.used_up, transient=False)
    trouble = record.gave_up_for or record.last_trouble
    if trouble in _REASONS:
        return replace(
            verdict,
            reason=_REASONS[trouble],
            failure=record.gave_up or record.last_says or verdict.failure,
            transient=trouble is Trouble.QUOTA,
        )
    if record.gave_up is not None:
        # As of a CLI that gives up by itself.
        return replace(verdict, reason=Reason.EXIT_CODE, failure=record.gave_up, transient=True)
    if record.last_trouble is Trouble.TRANSIENT and verdict.reason is not None:
        return replace(verdict, transient=True)
    return verdict
