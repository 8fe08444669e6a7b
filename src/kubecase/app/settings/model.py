"""Every option once: its type, default, limits, environment names and description.

Imported late, like `settings.kinds`. The reference page, the example file, the JSON Schema and
`config show` are all made from these classes, so that none of them can drift. Values leave only as
the dataclasses of `settings.values`.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from kubecase.app.settings.agent_runtime import AgentRuntimeSection
from kubecase.app.settings.container import ContainerSection
from kubecase.app.settings.kinds import (
    CLUSTER_PATTERN,
    Argv,
    Boolean,
    Decimal,
    FilePath,
    ModelPatterns,
    Name,
    ResourceNames,
    Size,
    Text,
    Texts,
    Variable,
    Whole,
    between,
    budget,
    http_url,
    store_url,
    word,
)
from kubecase.app.settings.section import Section, option
from kubecase.app.settings.service import LimitsSection, SourceSection
from kubecase.app.settings.sinks import SinkSection
from kubecase.app.settings.values import (
    ModelAuth,
    ModelProtocol,
    SeverityWord,
)
from kubecase.app.settings.web import WebSection

MODEL_KEYS: Mapping[str, str] = {
    "anthropic_api_key": "ANTHROPIC_API_KEY",
    "openai_api_key": "OPENAI_API_KEY",
    "gemini_api_key": "GEMINI_API_KEY",
}
"""The name that CLIs read each model key by."""

LATER = ("publish",)
"""Sections that the design knows and this version does not have yet."""


class AgentSection(Section):
    """Options of one agent, by its name."""

    command: Argv | None = option(
        None,
        "Its program: a name on PATH or a path, or a list of program and arguments. Unset means "
        "`agent_runtime.agent_command` for the chosen agent, and the agent's own name otherwise.",
        example="[/opt/codex/bin/codex]",
    )
    model: Text | None = option(None, "Model that the CLI is told to use.", example="sonnet")
    max_turns: Annotated[Whole, between(1, 1000)] | None = option(
        None, "How many turns the CLI may take, where it can count them.", example="40"
    )
    max_budget_usd: Annotated[Decimal, AfterValidator(budget)] | None = option(
        None, "How many US dollars one run may cost, where the CLI can tell.", example="2.50"
    )
    base_url: Annotated[Text, AfterValidator(http_url)] | None = option(
        None,
        "Address of the model's API, where it is not the vendor's own.",
        example="https://llm-proxy.example.com",
    )
    upstream: Name | None = option(
        None,
        "Entry of `models` that serves it its model. Unset means the vendor.",
        example="company",
    )
    model_gateway: Boolean = option(
        True,
        "Whether kubecase stands between it and its model, so that it never holds the real key. "
        "Without, its budget is not kept and its network stays open.",
    )
    exit_classes: Boolean = option(
        False, "Whether exit codes 10, 11 and 12 mean out of quota, out of time, not authorised."
    )


class ClusterSection(Section):
    """One cluster, by the name that reports and metrics use."""

    kubeconfig: FilePath | None = option(
        None, "Kubeconfig with a read-only credential.", example="/etc/kubecase/prod.kubeconfig"
    )
    context: Text | None = option(
        None, "Context of the kubeconfig that is meant. Unset means its current one.",
        example="production",
    )  # fmt: skip
    in_cluster: Boolean = option(
        False, "Whether it is the cluster that kubecase runs in, by its pod's service account."
    )
    extra_resources: ResourceNames = option(
        [], "More resources that agents may read, as PLURAL.GROUP; Secrets never.",
        example="[widgets.shop.io]",
    )  # fmt: skip
    max_requests: Annotated[Whole, between(1, 10**9)] = option(
        5000, "How many requests the agent of one investigation may make through the gateway."
    )
    max_answers: Size = option(
        "512MiB", "How much those answers may have together; the built-in facts do not count."
    )
    watch: Boolean = option(
        True, "Whether `kubecase serve` watches it for faults; alerts are taken in any case."
    )
    triage: Boolean = option(True, "Whether its faults are worked at all.")
    agent: Name | None = option(
        None, "Agent for its incidents. Unset means `agent_runtime.agent`.", example="claude"
    )
    at_once: Annotated[Whole, between(1, 50)] = option(
        1, "How many of its incidents are worked at a time."
    )
    environment: Text | None = option(
        None, "What it is for, as shown beside its name.", example="production"
    )
    min_severity: Annotated[SeverityWord, word(SeverityWord)] = option(
        "warning", "The least severity that is worked."
    )
    namespaces: Texts = option(
        [], "Patterns of the namespaces that are watched. Empty means all.", example="[shop, pay-*]"
    )
    excluded_namespaces: Texts = option(
        [], "Patterns of namespaces that are not.", example="[kube-system]"
    )


class ModelSection(Section):
    """One server of models, by the name that agents choose it by."""

    protocol: Annotated[ModelProtocol, word(ModelProtocol)] = Field(
        description="What is spoken there. LiteLLM and Ollama speak `openai`.",
        json_schema_extra={"x-example": "anthropic"},
    )
    base_url: Annotated[Text, AfterValidator(http_url)] | None = option(
        None, "Address of the API, with or without its `/v1`. Unset means the vendor's own.",
        example="https://llm-proxy.example.com",
    )  # fmt: skip
    auth: Annotated[ModelAuth, word(ModelAuth)] | None = option(
        None, "Header that carries the key. Unset means the one of the protocol.", example="bearer"
    )
    key_env: Variable | None = option(
        None,
        "Variable that holds the key. With neither this nor `key_file`, the vendor's own address "
        "is given the key of `agent_runtime`, and any other address none.",
        example="LLM_PROXY_KEY",
    )
    key_file: FilePath | None = option(
        None, "File that holds the key.", example="/run/secrets/llm-proxy"
    )
    ca: FilePath | None = option(
        None, "PEM file of the only authority whose certificates are accepted there.",
        example="/etc/ssl/corporate-ca.pem",
    )  # fmt: skip
    proxy: Annotated[Text, AfterValidator(http_url)] | None = option(
        None, "HTTP proxy on the way.", example="http://proxy.example.com:3128"
    )
    allowed_models: ModelPatterns = option(
        [], "Patterns of the models that may be asked for; empty allows any.",
        example="[claude-sonnet-*]",
    )  # fmt: skip
    prices: FilePath | None = option(
        None, "TOML file with prices that come before the shipped ones (docs/models.md).",
        example="/etc/kubecase/prices.toml",
    )  # fmt: skip


class BudgetSection(Section):
    """How much of their models a `run`, all runs of one `cluster`, or those of a `day` may use."""

    max_cost_usd: Annotated[Decimal, AfterValidator(budget)] | None = option(
        None, "US dollars. A model without a price counts as the dearest one.", example="5"
    )
    max_input_tokens: Annotated[Whole, between(1, 10**12)] | None = option(
        None, "Tokens of questions, cached or not.", example="2000000"
    )
    max_output_tokens: Annotated[Whole, between(1, 10**12)] | None = option(
        None, "Tokens of answers.", example="200000"
    )
    max_requests: Annotated[Whole, between(1, 10**9)] | None = option(
        None, "Calls of a model.", example="100"
    )
    requests_per_minute: Annotated[Whole, between(1, 100_000)] | None = option(
        None, "Requests within a minute; the next ones are told to wait.", example="60"
    )


class StoreSection(Section):
    """Where what is known is kept."""

    url: Annotated[Text, AfterValidator(store_url)] | None = option(
        None, "Database. Unset means a SQLite file in `data_dir`.",
        example="sqlite:////var/lib/kubecase/kubecase.db",
    )  # fmt: skip
    data_dir: FilePath | None = option(
        None,
        "Directory for the database, run records, audit and artifacts. Unset means "
        "`/var/lib/kubecase` for a service, otherwise `kubecase` in the user's data directory.",
        example="/var/lib/kubecase",
    )


ClusterName = Annotated[str, Field(pattern=f"^{CLUSTER_PATTERN}$")]
BudgetName = Annotated[str, Field(pattern="^(run|cluster|day)$")]


class Document(Section):
    """The whole of kubecase.yaml."""

    agent_runtime: AgentRuntimeSection = Field(default_factory=AgentRuntimeSection)
    agents: dict[Name, AgentSection] = Field(
        default={}, description="Options of single agents, by their name."
    )
    clusters: dict[ClusterName, ClusterSection] = Field(
        default={}, description="Clusters, by the name that reports and metrics use."
    )
    models: dict[Name, ModelSection] = Field(
        default={}, description="Servers of models, by the name that agents choose them by."
    )
    budgets: dict[BudgetName, BudgetSection] = Field(
        default={},
        description="How much of their models a `run`, all runs of one `cluster`, or those of a "
        "`day` may use.",
    )
    sources: dict[Name, SourceSection] = Field(
        default={},
        description="More places that faults come from, by name, beside the clusters themselves "
        "and the HTTP API.",
    )
    limits: LimitsSection = Field(default_factory=LimitsSection)
    sinks: dict[Name, SinkSection] = Field(
        default={}, description="Who is told, by a name of one's own (docs/notices.md)."
    )
    web: WebSection = Field(default_factory=WebSection)
    container: ContainerSection = Field(default_factory=ContainerSection)
    store: StoreSection = Field(default_factory=StoreSection)
