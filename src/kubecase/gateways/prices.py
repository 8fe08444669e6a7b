"""What tokens cost: a table in a data file, and the operator's own before it."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

from kubecase.core.errors import KubecaseError
from kubecase.core.metering import Tokens

MAX_BYTES = 1024 * 1024

# `-20250929`, `-2025-08-07`, `-latest`, `@20250929`: the same model at another time.
_DATED = re.compile(r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-latest)$")
_WORDS = ("input", "output", "cache_read", "cache_write", "cache_write_long")


class PricesInvalid(KubecaseError):
    """A table of prices cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars per million tokens, which is millionths of a dollar per token.

    `long` are the prices of a request whose whole input is above `above` tokens.
    """

    input: float
    output: float
    cache_read: float
    cache_write: float
    cache_write_long: float
    above: int | None = None
    long: "Price | None" = None

    def micro_usd(self, tokens: Tokens) -> int:
        """What `tokens` of one request cost, in millionths of a US dollar."""
        if self.long is not None and self.above is not None and tokens.all_input > self.above:
            return self.long.micro_usd(tokens)
        return round(
            tokens.input * self.input
            + tokens.output * self.output
            + tokens.cache_read * self.cache_read
            + tokens.cache_write * self.cache_write
            + tokens.cache_write_long * self.cache_write_long
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices by the name or pattern of a model."""

    models: Mapping[str, Price]

    def of(self, model: str) -> Price | None:
        """The price of `model`; `None` if it has none, which is not the same as free."""
        bare = model.rsplit("/", 1)[-1]
        for name in (model, bare, _DATED.sub("", bare)):
            if name in self.models:
                return self.models[name]
        for pattern, price in self.models.items():
            if fnmatchcase(model, pattern) or fnmatchcase(bare, pattern):
                return price
        return None

    @property
    def dearest(self) -> Price | None:
        """For each kind of token the highest price there is: what an unknown model may cost."""
        if not self.models:
            return None
        every = [each.long or each for each in self.models.values()]
        return _made({word: max(getattr(each, word) for each in every) for word in _WORDS})

    def before(self, other: "Prices") -> "Prices":
        """These prices, and those of `other` for what is not here."""
        return replace(self, models={**self.models, **_without(other.models, self.models)})


def _without(models: Mapping[str, Price], names: Mapping[str, Price]) -> dict[str, Price]:
    return {name: price for name, price in models.items() if name not in names}


def shipped_prices() -> Prices:
    """The table that comes with kubecase."""
    text = resources.files("kubecase.gateways").joinpath("prices.toml").read_text("utf-8")
    return parse_prices(text, "prices.toml")


def read_prices(path: Path) -> Prices:
    """The operator's table at `path`, before the one that comes with kubecase.

    Raises PricesInvalid.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PricesInvalid(
            f"cannot read the prices in {path}: {error.strerror}",
            hint="Set models.<name>.prices to a readable TOML file, or leave it unset.",
        ) from error
    if len(data) > MAX_BYTES:
        raise _invalid(str(path), "is larger than 1 MiB")
    return parse_prices(data.decode("utf-8", "replace"), str(path)).before(shipped_prices())


def parse_prices(text: str, where: str) -> Prices:
    """The table that `text` holds in TOML; `where` is named in errors. Raises PricesInvalid."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(where, f"is not TOML: {error}") from error
    models = document.get("models", {})
    if not isinstance(models, dict):
        raise _invalid(where, "has no tables of the form [models.NAME]")
    return Prices(models={name: _price(where, name, each) for name, each in models.items()})


def _price(where: str, name: str, table: Any) -> Price:
    if not isinstance(table, dict):
        raise _invalid(where, f"models.{name} is not a table")
    unknown = set(table) - {*_WORDS, "long"}
    if unknown:
        raise _invalid(where, f"models.{name} has the unknown key {min(unknown)!r}")
    price = _plain_price(where, name, table)
    long = table.get("long")
    if long is None:
        return price
    above = long.get("above") if isinstance(long, dict) else None
    if isinstance(above, bool) or not isinstance(above, int) or above < 1:
        raise _invalid(where, f"models.{name}.long has no whole number `above`")
    return replace(price, above=above, long=_plain_price(where, f"{name}.long", long))


def _plain_price(where: str, name: str, table: Mapping[str, Any]) -> Price:
    given = {word: table[word] for word in _WORDS if word in table}
    for word, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
            raise _invalid(where, f"models.{name}.{word} is not a price")
    if "input" not in given or "output" not in given:
        raise _invalid(where, f"models.{name} lacks `input` or `output`")
    given.setdefault("cache_read", given["input"])
    given.setdefault("cache_write", given["input"])
    given.setdefault("cache_write_long", given["cache_write"])
    return _made({word: float(value) for word, value in given.items()})


def _made(prices: Mapping[str, float]) -> Price:
    return Price(
        input=prices["input"],
        output=prices["output"],
        cache_read=prices["cache_read"],
        cache_write=prices["cache_write"],
        cache_write_long=prices["cache_write_long"],
    )


def _invalid(where: str, what: str) -> PricesInvalid:
    return PricesInvalid(
        f"{where}: {what}",
        hint="docs/models.md shows the form: [models.NAME] with `input` and `output` in US dollars "
        "per million tokens.",
    )
