"""From the settings to the model gateway: upstreams, prices, budgets; and what doctor says."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kubecase.app.findings import Finding
from kubecase.app.settings import Settings
from kubecase.app.settings.values import ModelAuth, ModelOptions, ModelProtocol
from kubecase.app.unavailable import UnavailableAgent
from kubecase.core.errors import KubecaseError

if TYPE_CHECKING:
    from datetime import date

    from kubecase.app.wiring import Choice
    from kubecase.gateways.budget import Account, Budget, Ledger
    from kubecase.gateways.prices import Prices
    from kubecase.gateways.serving_parts import ModelPart
    from kubecase.gateways.upstream import Upstream

PROTOCOLS: dict[str, ModelProtocol] = {
    "claude": "anthropic",
    "codex": "openai",
    "gemini": "gemini",
    "goose": "openai",
    "openai_chat": "openai",
    "opencode": "openai",
}
"""What each CLI speaks, and so which vendor it is for where no other upstream is chosen."""


SERVED = frozenset(PROTOCOLS)
"""The agents whose adapters can be told of another address and key."""


def upstream_from(name: str, options: ModelOptions) -> "Upstream":
    """The upstream that the section `models.<name>` describes."""
    from kubecase.gateways.upstream import Upstream

    header, prefix = _header(options.auth)
    return Upstream(
        name=name,
        protocol=options.protocol,
        base_url=options.base_url,
        key=None if options.key is None else options.key.value,
        header=header,
        prefix=prefix,
        ca=options.ca,
        proxy=options.proxy,
        models=options.allowed_models,
    )


def _header(auth: ModelAuth | None) -> tuple[str | None, str | None]:
    if auth is None or auth == "none":
        return None, None
    return ("authorization", "Bearer ") if auth == "bearer" else (auth, "")


def vendor_upstream(agent: str, settings: Settings) -> "Upstream":
    """The vendor's own address with the key of `agent_runtime`, for who chose no upstream."""
    from kubecase.app.settings.upstream_keys import VENDOR_KEYS
    from kubecase.gateways.upstream import Upstream

    protocol = PROTOCOLS[agent]
    key = settings.model_keys.get(VENDOR_KEYS[protocol])
    return Upstream(
        name=f"{protocol} (vendor)",
        protocol=protocol,
        base_url=settings.agent_options(agent).base_url,
        key=None if key is None else key.value,
    )


def prices_from(options: ModelOptions | None) -> "Prices":
    """The shipped prices, behind those of the section's own file. Raises PricesInvalid."""
    from kubecase.gateways.prices import read_prices, shipped_prices

    if options is None or options.prices is None:
        return shipped_prices()
    return read_prices(options.prices)


def is_served(choice: "Choice", settings: Settings) -> bool:
    """Whether kubecase stands between this agent and its model."""
    return (
        choice.agent is not None
        and choice.name in SERVED
        and settings.agent_options(choice.name).model_gateway
        and not isinstance(choice.agent, UnavailableAgent)
    )


def unserved(choice: "Choice", settings: Settings) -> tuple[str, ...]:
    """What has to be said of an agent that could be served and is not."""
    if choice.name in SERVED and not settings.agent_options(choice.name).model_gateway:
        key = f"agents.{choice.name}.model_gateway"
        return (f"{key} is off: the agent holds its real model key, and no budget is kept",)
    return ()


def model_part(choice: "Choice", settings: Settings) -> "ModelPart":
    """What serves this agent its model. Raises KubecaseError for an upstream that is not there."""
    from kubecase.gateways.model import GatewayLimits
    from kubecase.gateways.serving_parts import ModelPart

    name = settings.agent_options(choice.name).upstream
    if name is not None and name not in settings.models:
        known = ", ".join(sorted(settings.models)) or "none"
        raise KubecaseError(
            f"no model server {name!r} is configured for the agent {choice.name}",
            hint=f"Configured under `models` are: {known}. Correct agents.{choice.name}.upstream.",
        )
    options = None if name is None else settings.models[name]
    return ModelPart(
        upstream=(
            vendor_upstream(choice.name, settings)
            if name is None or options is None
            else upstream_from(name, options)
        ),
        prices=prices_from(options),
        accounts=lambda run, cluster: _accounts(settings, run, cluster),
        limits=GatewayLimits(failures=settings.agent_runtime.model_failures),
    )


def _accounts(settings: Settings, run: str, cluster: str) -> "tuple[Account, ...]":
    """What a run is charged to: itself, its cluster, the day."""
    from kubecase.gateways.budget import Account
    from kubecase.gateways.ledgers import DayLedger, JsonLedger

    data = settings.store.data_dir

    def of_day(day: "date") -> JsonLedger:
        return JsonLedger(data / "spent.json", f"day {day.isoformat()}")

    ledgers: dict[str, Ledger] = {
        "run": JsonLedger(data / "audit" / f"{run}.spent.json", run),
        "cluster": JsonLedger(data / "spent.json", f"cluster {cluster}"),
        "day": DayLedger(of_day),
    }
    return tuple(
        Account(name, budget_from(settings, name), ledger) for name, ledger in ledgers.items()
    )


def budget_from(settings: Settings, account: str) -> "Budget":
    """The budget of `run`, `cluster` or `day`; without limits where none was set."""
    from kubecase.gateways.budget import Budget

    options = settings.budgets.get(account)
    if options is None:
        return Budget()
    return Budget(
        max_cost_usd=options.max_cost_usd,
        max_input_tokens=options.max_input_tokens,
        max_output_tokens=options.max_output_tokens,
        max_requests=options.max_requests,
        requests_per_minute=options.requests_per_minute,
    )


def model_findings(settings: Settings) -> Iterator[Finding]:
    """What doctor says of models: each upstream, and each log-in that the gateway cannot carry."""
    from kubecase.core.errors import KubecaseError
    from kubecase.gateways.upstream import trust_of

    for name, options in settings.models.items():
        upstream = upstream_from(name, options)
        try:
            trust_of(upstream)
            prices_from(options)
        except KubecaseError as error:
            yield Finding(
                what=f"model {name}", state="missing", says=str(error), remedy=error.hint,
                needed=True,
            )  # fmt: skip
            continue
        key = "without a key" if upstream.key is None else "with a key"
        address = upstream.base_url or upstream.dialect.base_url
        yield Finding(
            what=f"model {name}", state="ok", says=f"{options.protocol}, {address}, {key}"
        )
    for sentence in dict.fromkeys(_not_carried(settings)):
        yield Finding(what="model log-in", state="note", says=sentence)


def _not_carried(settings: Settings) -> Iterator[str]:
    from kubecase.gateways.logins import FILES, VARIABLES, Login, carries, login_of_key

    logins = [
        login_of_key(agent, settings.model_keys[variable].value, variable)
        for agent, variable in (("claude", "ANTHROPIC_API_KEY"), ("gemini", "GEMINI_API_KEY"))
        if variable in settings.model_keys
    ]
    for variable in sorted(settings.host.login_variables):
        agent, kind = VARIABLES[variable]
        logins.append(Login(agent=agent, kind=kind, detail=variable))
    home = settings.host.home
    for file, (agent, kind) in FILES.items() if home is not None else ():
        if home is not None and (home / file).is_file():
            logins.append(Login(agent=agent, kind=kind, detail=f"~/{file}"))
    yield from filter(None, map(carries, logins))
