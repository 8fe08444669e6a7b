"""The sections of `kubecase serve`: limits, silences, and where faults come from."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from kubecase.app.settings.kinds import (
    CLUSTER_PATTERN,
    FilePath,
    Items,
    Seconds,
    SecondsOrOff,
    Text,
    Variable,
    Whole,
    between,
    http_url,
    word,
)
from kubecase.app.settings.section import Section, option
from kubecase.app.settings.values import SourceKind


def _moment(value: Any) -> datetime:
    """A moment with its time zone; YAML gives one without as UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("is not a moment such as 2026-01-31T22:00:00Z") from None
    if not isinstance(value, datetime):
        raise ValueError("is not a moment such as 2026-01-31T22:00:00Z")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "x-type": "moment"}),
]
ClusterText = Annotated[Text, Field(pattern=f"^{CLUSTER_PATTERN}$")]


class SilenceSection(Section):
    """Faults that are not worked for a while. Patterns are those of a shell: `*`, `?`, `[a-c]`."""

    reason: Text = Field(description="Why, for whoever reads the decisions.")
    cluster: Text | None = option(None, "Pattern of the cluster's name.")
    namespace: Text | None = option(None, "Pattern of the namespace.")
    resource: Text | None = option(None, "Pattern of Kind/name.")
    fault: Text | None = option(None, "Pattern of the fault's reason.")
    begins: Moment | None = option(None, "When it begins to hold. Unset means at once.")
    ends: Moment | None = option(None, "When it ends. Unset means when it is removed.")


class LimitsSection(Section):
    """How much `kubecase serve` takes on, and what it leaves alone."""

    at_once: Annotated[Whole, between(1, 200)] = option(
        5, "How many investigations run at a time, over all clusters."
    )
    max_queued: Annotated[Whole, between(1, 100_000)] = option(
        1000, "How many incidents may wait; beyond that faults are refused, and their sender told."
    )
    queue_max_age: SecondsOrOff = option(
        "10m", "How long an incident that is not critical may wait before it expires."
    )
    repeat_after: Seconds = option(
        "1h",
        "How long after its report a fault that comes again is only counted; later it opens its "
        "incident again.",
    )
    second_sign: Seconds = option(
        "5s", "How far apart the two signs must be that a reason needs which may pass by itself."
    )
    storm: Annotated[Whole, between(0, 10_000)] = option(
        50,
        "From how many new incidents of one namespace on further ones become members of a single "
        "incident; 0 for never.",
    )
    storm_window: Seconds = option("5m", "Within which time they are counted.")
    shutdown_timeout: Seconds = option(
        "60s", "How long running investigations may take to end when the service is stopped."
    )
    silences: Annotated[list[SilenceSection], Items] = option(
        [],
        "Faults that are not worked for a while: maintenance windows and known troubles.",
        example='[{reason: "upgrade", namespace: shop, ends: "2026-02-01T06:00:00Z"}]',
    )


class SourceSection(Section):
    """One more place that faults come from, beside the clusters themselves and the HTTP API."""

    kind: Annotated[SourceKind, word(SourceKind)] = Field(
        description="`mcp`: a Kubernetes MCP server that pushes faults; `directory`: files that "
        "appear in a directory.",
        json_schema_extra={"x-example": "mcp"},
    )
    cluster: ClusterText | None = option(
        None, "Cluster that its faults are of, where they do not say so.", example="production"
    )
    url: Annotated[Text, AfterValidator(http_url)] | None = option(
        None, "Address of the MCP server.", example="http://mcp.example.com:8080/mcp"
    )
    token_env: Variable | None = option(
        None, "Variable that holds the token for it.", example="MCP_TOKEN"
    )
    token_file: FilePath | None = option(
        None, "File that holds the token for it.", example="/run/secrets/mcp"
    )
    path: FilePath | None = option(
        None, "Directory whose files are taken, each once.", example="/var/spool/kubecase"
    )
