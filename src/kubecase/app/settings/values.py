"""What the settings are once they have been checked: plain, frozen, without surprises.

Durations are `float` seconds and sizes `int` bytes, whatever unit the key is written in. Paths
are absolute. Nothing here shows a secret in its representation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from kubecase.app.settings.web_values import WebSettings

if TYPE_CHECKING:  # half of this package's import time, and `kubecase config` needs neither
    from kubecase.core.model import Limits
    from kubecase.core.ports import Credential

Isolation = Literal["auto", "process", "landlock", "bwrap", "container"]
IsolationLayer = Literal["process", "landlock", "bwrap", "container"]
Engine = Literal["auto", "podman", "docker"]
Network = Literal["auto", "host", "none"]
AgentsOrder = Literal["parallel", "second_opinion"]
SelfTest = Literal["auto", "off"]
WhenSupervisorDies = Literal["auto", "survive", "die_with_me"]
CleanupPolicyName = Literal[
    "keep_always", "keep_on_failure", "delete_after_retention", "delete_now", "archive"
]
ModelProtocol = Literal["anthropic", "openai", "gemini"]
ModelAuth = Literal["x-api-key", "bearer", "x-goog-api-key", "api-key", "none"]
SourceKind = Literal["mcp", "directory"]
SeverityWord = Literal["info", "warning", "critical"]
SinkEvent = Literal["success", "failed", "timeout", "cancelled", "degraded", "recovered"]
LogLevel = Literal["debug", "info", "warn", "error"]

SERVICE_DIRECTORY = Path("/var/lib/kubecase")
"""Where the service keeps its data, and below it its workspaces, unless told otherwise."""

PROGRAMS: Mapping[str, str] = {
    "claude": "claude",
    "codex": "codex",
    "gemini": "gemini",
    "goose": "goose",
    "opencode": "opencode",
}
"""The program of each agent that has one by default; `command` has none and must be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A skill by its folder's name, and whether it is used."""

    name: str
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRuntimeSettings:
    """Section `agent_runtime`. `None` means: not set, so the agent or the host decides.

    `agent_command` is an argv list, never a shell string. `idle_timeout_seconds`, `min_free_bytes`
    and `gc_interval_seconds` are `None` for `off`. `skills_source` is `None` and `skills_sources`
    empty for the skills that are shipped; `skills` empty means all that there are. `allowed_tools`
    is `None` for the adapter's own.
    """

    agent: str
    agent_command: tuple[str, ...] | None
    workspace_root: Path
    workspace_retention_seconds: float
    max_duration_seconds: float
    graceful_shutdown_seconds: float
    idle_timeout_seconds: float | None
    max_output_bytes: int
    max_disk_bytes: int
    isolation: Isolation
    isolation_min: IsolationLayer
    agent_user: str | None
    network: Network
    read_only_paths: tuple[Path, ...]
    when_supervisor_dies: WhenSupervisorDies
    require_report: bool
    cleanup_policy: CleanupPolicyName
    min_free_bytes: int | None
    gc_interval_seconds: float | None
    retries: int
    retry_delay_seconds: float
    fallback: tuple[str, ...]
    agents: tuple[str, ...]
    agents_order: AgentsOrder
    model_failures: int
    self_test: SelfTest
    breaker_failures: int
    breaker_cooldown_seconds: float
    allow_write_capable_credential: bool
    skills_source: Path | None
    skills_sources: tuple[Path | Literal["shipped"], ...]
    skills: tuple[Skill, ...]
    read_only_mode: bool
    allowed_tools: tuple[str, ...] | None
    kubeconfig_path: Path | None
    metrics_enabled: bool
    structured_logging: bool
    log_level: LogLevel

    @property
    def limits(self) -> "Limits":
        """How far one run may go."""
        from kubecase.core.model import Limits

        return Limits(
            wall_clock=self.max_duration_seconds,
            grace=self.graceful_shutdown_seconds,
            idle=self.idle_timeout_seconds,
            output_bytes=self.max_output_bytes,
            disk_bytes=self.max_disk_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """Section `agents.<name>`; `None` leaves it to the agent's own default.

    With `exit_classes` the exit codes 10, 11 and 12 mean out of quota, out of time, not authorised.
    """

    model: str | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    exit_classes: bool = False
    base_url: str | None = None
    upstream: str | None = None
    model_gateway: bool = True
    command: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Section `clusters.<name>`: the credential file, and the context in it that is meant; or, with
    `in_cluster`, the service account of the pod that kubecase runs in.

    `extra_resources` may be read by agents too, each as PLURAL.GROUP. One investigation may make
    `max_requests` through the gateway, with `max_answers` bytes of answers.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    in_cluster: bool = False
    extra_resources: tuple[str, ...] = ()
    max_requests: int = 5000
    max_answers: int = 512 * 1024 * 1024
    watch: bool = True
    triage: bool = True
    agent: str | None = None
    at_once: int = 1
    environment: str | None = None
    min_severity: SeverityWord = "warning"
    namespaces: tuple[str, ...] = ()
    excluded_namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Section `sources.<name>`. `token` is what the sources gave."""

    kind: SourceKind
    cluster: str | None = None
    url: str | None = None
    token_env: str | None = None
    token_file: Path | None = None
    path: Path | None = None
    token: "Credential | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceOptions:
    """One of `limits.silences`; patterns are those of a shell, moments are in UTC."""

    reason: str
    cluster: str | None = None
    namespace: str | None = None
    resource: str | None = None
    fault: str | None = None
    begins: datetime | None = None
    ends: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSettings:
    """Section `limits`. Durations are seconds; `queue_max_age` is None for `off`."""

    at_once: int
    max_queued: int
    queue_max_age: float | None
    repeat_after: float
    second_sign: float
    storm: int
    storm_window: float
    shutdown_timeout: float
    silences: tuple[SilenceOptions, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Section `models.<name>`; `None` leaves it to the protocol. `key` is what the sources gave."""

    protocol: ModelProtocol
    base_url: str | None = None
    auth: ModelAuth | None = None
    key_env: str | None = None
    key_file: Path | None = None
    key: "Credential | None" = None
    ca: Path | None = None
    proxy: str | None = None
    allowed_models: tuple[str, ...] = ()
    prices: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetOptions:
    """Section `budgets.<run, cluster or day>`; `None` for no such limit."""

    max_cost_usd: float | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_requests: int | None = None
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSecrets:
    """What one entry of `sinks` was given: the address, and the key of its signature."""

    address: str = field(repr=False)
    key: str | None = field(default=None, repr=False)

    @property
    def values(self) -> tuple[str, ...]:
        """What must not be shown: the address, also without its scheme and host."""
        parts = urlsplit(self.address)
        rest = parts.path + (f"?{parts.query}" if parts.query else "")
        found = [
            self.address,
            *([rest] if len(rest) > 8 else []),
            *([self.key] if self.key else []),
        ]
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """Section `sinks.<name>`; `clusters` empty means all."""

    kind: str
    secrets: SinkSecrets
    min_severity: SeverityWord
    clusters: tuple[str, ...]
    on: tuple[SinkEvent, ...]
    url_env: str | None = None
    url_file: Path | None = None
    secret_env: str | None = None
    secret_file: Path | None = None
    proxy: str | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """Section `container`. `mounts` are as they were written."""

    engine: Engine
    image: str | None
    memory: int
    cpus: float
    processes: int
    tmp: int
    stop_timeout: float
    mounts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Section `store`. `url` may hold a password; `None` means a SQLite file in `data_dir`."""

    data_dir: Path
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the environment of the process says about where it runs, for those who need it."""

    search_path: str
    home: Path | None
    language: str
    user_data_dir: Path | None
    engine_variables: Mapping[str, str] = field(default_factory=dict)
    """What the client of a container engine needs to find its engine."""

    api_server: tuple[str, str] | None = None
    """Host and port of the API server of the pod that kubecase runs in; None outside of a pod."""

    login_variables: frozenset[str] = frozenset()
    """Which variables are set that hold log-ins of CLIs; never their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that was configured, checked. `model_keys` is by the name that CLIs read.

    `budgets` is by the words `run`, `cluster` and `day`.
    """

    agent_runtime: AgentRuntimeSettings
    agents: Mapping[str, AgentOptions]
    clusters: Mapping[str, ClusterOptions]
    container: ContainerSettings
    store: StoreSettings
    limits: LimitsSettings
    web: WebSettings
    model_keys: Mapping[str, "Credential"]
    host: Host
    models: Mapping[str, ModelOptions] = field(default_factory=dict)
    budgets: Mapping[str, BudgetOptions] = field(default_factory=dict)
    sources: Mapping[str, SourceOptions] = field(default_factory=dict)
    sinks: Mapping[str, SinkSettings] = field(default_factory=dict)

    def agent_options(self, agent: str) -> AgentOptions:
        """The options of `agent`; all left to its defaults if none were configured."""
        return self.agents.get(agent, AgentOptions())

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must not appear in a log, a file or a message."""
        own = (each.key.value for each in self.models.values() if each.key is not None)
        keys = (*(key.value for key in self.model_keys.values()), *own)
        tokens = (each.token.value for each in self.sources.values() if each.token is not None)
        told = (value for each in self.sinks.values() for value in each.secrets.values)
        keys = (*keys, *tokens, *told)
        password = urlsplit(self.store.url or "").password
        return (*keys, password, unquote(password)) if password else keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value came from; its text is for people.

    `detail` is the variable's or the flag's name, or `path:line` of a file.
    """

    kind: Literal["default", "file", "environment", "flag"]
    detail: str = ""

    def __str__(self) -> str:
        if self.kind == "file":
            return self.detail
        return f"{self.kind} {self.detail}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Checked settings, the origin of every key that is not a default, and warnings.

    Keys are dotted, such as `agent_runtime.agent` or `agents.claude.model`.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...]
    config_path: Path | None

    def origin(self, key: str) -> Origin:
        """Where the value of `key` came from."""
        return self.origins.get(key, Origin(kind="default"))
