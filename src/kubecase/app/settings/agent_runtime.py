"""The section `agent_runtime`: how investigations are run. See `settings.model`."""

from typing import Annotated

from pydantic import Field

from kubecase.app.settings.kinds import (
    Argv,
    Boolean,
    FilePath,
    Hours,
    Items,
    Minutes,
    Name,
    Names,
    Seconds,
    SecondsOrOff,
    Secret,
    Size,
    SizeOrOff,
    Texts,
    User,
    Whole,
    between,
    word,
)
from kubecase.app.settings.section import Section, option
from kubecase.app.settings.values import (
    AgentsOrder,
    CleanupPolicyName,
    Isolation,
    IsolationLayer,
    LogLevel,
    Network,
    SelfTest,
    WhenSupervisorDies,
)


class SkillSection(Section):
    """One skill, wherever it comes from."""

    name: Name = Field(description="Name of the skill's folder.")
    enabled: Boolean = option(True, "Whether agents are given it.")


class AgentRuntimeSection(Section):
    """How investigations are run."""

    agent: Name = option(
        "auto",
        "The agent that investigates. `auto`: the first configured agent that is healthy, else "
        "`builtin`, and the report says which.",
        "AGENT_RUNTIME_AGENT",
    )
    agent_command: Argv | None = option(
        None,
        "Program of the chosen agent: a name on PATH or a path, or a list of program and "
        "arguments. Unset means the agent's own name (`claude` for claude); `command` needs it. "
        "The environment value is split into a list like a shell would, and no shell ever sees it.",
        "AGENT_RUNTIME_COMMAND",
        example="[claude]",
    )
    workspace_root: FilePath | None = option(
        None,
        "Directory that holds one directory per investigation; created if absent. Unset means "
        "`/var/lib/kubecase/workspaces` for a service, otherwise `kubecase/workspaces` in the "
        "user's data directory (`$XDG_DATA_HOME` or `~/.local/share`).",
        "AGENT_RUNTIME_WORKSPACE_ROOT",
        example="/var/lib/kubecase/workspaces",
    )
    workspace_retention_hours: Hours = option(
        72, "How long an ended investigation's workspace is kept. A plain number is hours.",
        "AGENT_RUNTIME_RETENTION_HOURS",
    )  # fmt: skip
    max_duration_minutes: Minutes = option(
        10,
        "How long an agent may run. A plain number is minutes here and seconds in "
        "AGENT_RUNTIME_MAX_DURATION.",
        "AGENT_RUNTIME_MAX_DURATION",
    )
    graceful_shutdown_seconds: Seconds = option(
        30, "How long an agent that was asked to stop may take before it is killed.",
        "AGENT_RUNTIME_GRACE",
    )  # fmt: skip
    idle_timeout: SecondsOrOff = option(
        "5m", "How long an agent may go without a byte of output; `off` for no such limit.",
        "AGENT_RUNTIME_IDLE_TIMEOUT",
    )  # fmt: skip
    max_output: Size = option(
        "64MiB", "How much an agent may write to its two output streams.",
        "AGENT_RUNTIME_MAX_OUTPUT",
    )  # fmt: skip
    max_disk: Size = option(
        "1GiB", "How large a workspace may grow.", "AGENT_RUNTIME_MAX_DISK"
    )  # fmt: skip
    isolation: Annotated[Isolation, word(Isolation)] = option(
        "auto",
        "The layer that contains an agent. `auto`: the strongest of process, landlock and bwrap "
        "that works on this host.",
        "AGENT_RUNTIME_ISOLATION",
    )
    isolation_min: Annotated[IsolationLayer, word(IsolationLayer)] = option(
        "process", "The weakest layer that is acceptable; below it nothing is run.",
        "AGENT_RUNTIME_ISOLATION_MIN",
    )  # fmt: skip
    agent_user: User | None = option(
        None,
        "User that agents run as, which takes root to arrange. Unset means the user of kubecase "
        "itself; if that is root and there is a user `kubecase-agent`, that one.",
        "AGENT_RUNTIME_AGENT_USER",
        example="kubecase-agent",
    )
    network: Annotated[Network, word(Network)] = option(
        "auto",
        "What an agent can reach: `host`, whatever this host reaches, which an agent needs that "
        "talks to a model itself; `none`, nothing but what kubecase serves it (needs isolation "
        "landlock or bwrap); `auto`, `none` for an agent whose model kubecase serves where the "
        "layer can close the network, else `host`.",
        "AGENT_RUNTIME_NETWORK",
    )
    read_only_paths: Annotated[list[FilePath], Items] = option(
        [],
        "Files and directories that agents may read in isolation landlock and bwrap, beside their "
        "own program and the system's.",
        example="[/opt/models]",
    )
    when_supervisor_dies: Annotated[WhenSupervisorDies, word(WhenSupervisorDies)] = option(
        "auto",
        "What becomes of a running agent when kubecase itself is killed: `survive`, it goes on and "
        "is taken over later; `die_with_me`, it is ended at once; `auto`, it survives where that "
        "can work: one host, no container, no service unit that kills everything.",
        "AGENT_RUNTIME_WHEN_SUPERVISOR_DIES",
    )
    require_report: Boolean = option(
        True, "Whether exit code 0 counts as success only together with a report.",
        "AGENT_RUNTIME_REQUIRE_REPORT",
    )  # fmt: skip
    cleanup_policy: Annotated[CleanupPolicyName, word(CleanupPolicyName)] = option(
        "delete_after_retention", "What becomes of the workspace of an ended investigation.",
        "AGENT_RUNTIME_CLEANUP_POLICY",
    )  # fmt: skip
    min_free_space: SizeOrOff = option(
        "1GiB",
        "How much is to stay free on the disk of `workspace_root`. Below it, garbage collection "
        "takes finished workspaces before their retention is over, in the order in which they "
        "ended, as far as the cleanup policy lets them go at all; `off` for never.",
        "AGENT_RUNTIME_MIN_FREE_SPACE",
    )
    gc_interval: SecondsOrOff = option(
        "1h",
        "How long garbage collection rests between two passes of its loop (`kubecase gc --watch`); "
        "`off` for no loop. `kubecase gc` makes one pass at any time.",
        "AGENT_RUNTIME_GC_INTERVAL",
    )
    retries: Annotated[Whole, between(0, 10)] = option(
        2, "How many further attempts follow a failure that may pass (rate limit, 5xx, network).",
        "AGENT_RUNTIME_RETRIES",
    )  # fmt: skip
    retry_delay: Seconds = option(
        10,
        "Pause before the first further attempt; it doubles with each, up to five minutes.",
        "AGENT_RUNTIME_RETRY_DELAY",
    )
    model_failures: Annotated[Whole, between(0, 1000)] = option(
        3,
        "After how many model calls in a row that the model's server has failed a run is ended; "
        "each was tried several times by then. 0 leaves it to the agent's CLI, and some try for "
        "minutes or for ever.",
        "AGENT_RUNTIME_MODEL_FAILURES",
    )
    self_test: Annotated[SelfTest, word(SelfTest)] = option(
        "auto",
        "Whether an agent's CLI is tried before it is used: `auto`, once for each program, with a "
        "scripted model that asks for what is forbidden; a CLI through which any of it happens is "
        "refused. `off`: never.",
        "AGENT_RUNTIME_SELF_TEST",
    )
    fallback: Names = option(
        ["builtin"],
        "Agents that are asked in turn when the chosen one has failed for good. What the built-in "
        "investigator found stands in every report, so `builtin` makes no attempt of its own after "
        "a failed one.",
        "AGENT_RUNTIME_FALLBACK",
    )
    agents: Names = option(
        [],
        "Several agents for every incident in place of `agent`; one report shows all their "
        "conclusions and where they agree.",
        "AGENT_RUNTIME_AGENTS",
        example="[claude, codex]",
    )
    agents_order: Annotated[AgentsOrder, word(AgentsOrder)] = option(
        "parallel",
        "How several `agents` work: `parallel`, side by side, knowing nothing of one another; "
        "`second_opinion`, in turn, each told what was found before and asked to doubt it.",
        "AGENT_RUNTIME_AGENTS_ORDER",
    )
    breaker_failures: Annotated[Whole, between(0, 100)] = option(
        5,
        "After how many failures in a row an agent is not asked for a while, unless a person names "
        "it; 0 for never.",
        "AGENT_RUNTIME_BREAKER_FAILURES",
    )
    breaker_cooldown: Seconds = option(
        "5m", "How long that is; then one investigation tries it again.",
        "AGENT_RUNTIME_BREAKER_COOLDOWN",
    )  # fmt: skip
    allow_write_capable_credential: Boolean = option(
        False, "Whether agents may be asked with a credential that can write; they read only.",
        "AGENT_RUNTIME_ALLOW_WRITE_CAPABLE",
    )  # fmt: skip
    skills_source: FilePath | None = option(
        None, "Directory with one folder per skill. Unset means the skills that are shipped.",
        "AGENT_RUNTIME_SKILLS_SOURCE", example="/etc/kubecase/skills",
    )  # fmt: skip
    skills_sources: Annotated[list[FilePath], Items] = option(
        [],
        "More such directories, or single skills. A name may be in one of them only. With neither "
        "of both, agents are given the skills that are shipped; `shipped` stands for these here.",
        "AGENT_RUNTIME_SKILLS_SOURCES", example="[shipped, /etc/kubecase/more-skills]",
    )  # fmt: skip
    skills: Annotated[list[SkillSection], Items] = option(
        [],
        "Which skills agents are given, each with `name` and `enabled`. Empty means all that the "
        "sources have and that were added; so does a list that only disables, but for those.",
        example="[{name: kubernetes-triage, enabled: true}]",
    )
    read_only_mode: Boolean = option(
        True,
        "Whether a cluster credential that can write is refused where an agent is asked.",
        "AGENT_RUNTIME_READ_ONLY",
    )
    allowed_tools: Texts | None = option(
        None, "Tool rules in the words of the agent's CLI. Unset means those of its adapter.",
        "AGENT_RUNTIME_ALLOWED_TOOLS", example="[mcp__k8s__kubectl_read, Read]",
    )  # fmt: skip
    kubeconfig_path: FilePath | None = option(
        None, "Read-only credential for a cluster that `clusters` does not name.",
        "AGENT_RUNTIME_KUBECONFIG", example="/etc/kubecase/kubeconfig",
    )  # fmt: skip
    metrics_enabled: Boolean = option(
        True, "Whether metrics are kept, served and written.", "AGENT_RUNTIME_METRICS"
    )
    structured_logging: Boolean = option(
        True, "Whether log records are JSON objects; otherwise plain lines.",
        "AGENT_RUNTIME_STRUCTURED_LOGGING",
    )  # fmt: skip
    log_level: Annotated[LogLevel, word(LogLevel, {"warning": "warn"})] = option(
        "info", "The least level that is logged; case does not matter.", "AGENT_RUNTIME_LOG_LEVEL"
    )
    anthropic_api_key: Secret | None = option(
        None, "Model key of Anthropic. Better given by the environment or a file.",
        "ANTHROPIC_API_KEY", "CLAUDE_API_KEY",
    )  # fmt: skip
    anthropic_api_key_file: FilePath | None = option(
        None, "File that holds the model key of Anthropic.", example="/run/secrets/anthropic"
    )
    openai_api_key: Secret | None = option(
        None, "Model key of OpenAI. Better given by the environment or a file.", "OPENAI_API_KEY"
    )
    openai_api_key_file: FilePath | None = option(
        None, "File that holds the model key of OpenAI.", example="/run/secrets/openai"
    )
    gemini_api_key: Secret | None = option(
        None, "Model key of Google. Better given by the environment or a file.",
        "GEMINI_API_KEY", "GOOGLE_API_KEY",
    )  # fmt: skip
    gemini_api_key_file: FilePath | None = option(
        None, "File that holds the model key of Google.", example="/run/secrets/gemini"
    )
