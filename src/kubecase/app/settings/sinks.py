"""The section `sinks` of the settings: who is told, and of what."""

from typing import Annotated

from pydantic import AfterValidator, Field

from kubecase.app.settings.kinds import (
    FilePath,
    Items,
    Name,
    Secret,
    Text,
    Texts,
    Variable,
    http_url,
    word,
)
from kubecase.app.settings.section import Section, option
from kubecase.app.settings.values import SeverityWord, SinkEvent


class SinkSection(Section):
    """One way to tell people, by a name of its own."""

    kind: Name = Field(
        description="What it is: `slack` (an incoming webhook), `webhook` (our JSON for programs), "
        "or an installed plug-in.",
        json_schema_extra={"x-example": "slack"},
    )
    url: Secret | None = option(
        None,
        "Address that is posted to. It is a secret: better given by `url_env`, `url_file`, or the "
        "variable of this key.",
        example="https://hooks.example.com/services/...",
    )
    url_env: Variable | None = option(
        None, "Variable that holds the address.", example="SLACK_WEBHOOK_URL"
    )
    url_file: FilePath | None = option(
        None, "File that holds the address.", example="/run/secrets/slack-webhook"
    )
    secret_env: Variable | None = option(
        None,
        "Variable that holds the key by which kind `webhook` signs (docs/notices.md).",
        example="WEBHOOK_SECRET",
    )
    secret_file: FilePath | None = option(
        None, "File that holds that key.", example="/run/secrets/webhook-key"
    )
    min_severity: Annotated[SeverityWord, word(SeverityWord)] = option(
        "info", "The least severity of a fault that is told."
    )
    clusters: Texts = option(
        [], "Clusters whose incidents are told; empty means all.", example="[production]"
    )
    on: Annotated[list[Annotated[SinkEvent, word(SinkEvent)]], Items] = option(
        ["success", "failed", "timeout", "degraded", "recovered"],
        "What is told: ends of investigations by their status (`success`, `failed`, `timeout`, "
        "`cancelled`), and that an agent is `degraded` or has `recovered`.",
    )
    proxy: Annotated[Text, AfterValidator(http_url)] | None = option(
        None, "HTTP proxy on the way.", example="http://proxy.example.com:3128"
    )
    ca: FilePath | None = option(
        None, "PEM file of the only authority whose certificates are accepted there.",
        example="/etc/ssl/corporate-ca.pem",
    )  # fmt: skip
