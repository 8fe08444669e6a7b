"""The schema, the example file and the reference page say what the settings do."""

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from kubecase.app.settings import effective, example, json_schema, load, reference
from kubecase.app.settings.describe import write_files
from kubecase.workspace import CleanupPolicy

ROOT = Path(__file__).parent.parent.parent
HOME = {"HOME": "/home/somebody"}

TABLE = {  # the settings table of docs/requirements.md
    "agent": "AGENT_RUNTIME_AGENT",
    "agent_command": "AGENT_RUNTIME_COMMAND",
    "workspace_root": "AGENT_RUNTIME_WORKSPACE_ROOT",
    "workspace_retention_hours": "AGENT_RUNTIME_RETENTION_HOURS",
    "max_duration_minutes": "AGENT_RUNTIME_MAX_DURATION",
    "graceful_shutdown_seconds": "AGENT_RUNTIME_GRACE",
    "idle_timeout": "AGENT_RUNTIME_IDLE_TIMEOUT",
    "max_output": "AGENT_RUNTIME_MAX_OUTPUT",
    "max_disk": "AGENT_RUNTIME_MAX_DISK",
    "isolation": "AGENT_RUNTIME_ISOLATION",
    "isolation_min": "AGENT_RUNTIME_ISOLATION_MIN",
    "agent_user": "AGENT_RUNTIME_AGENT_USER",
    "network": "AGENT_RUNTIME_NETWORK",
    "read_only_paths": None,
    "when_supervisor_dies": "AGENT_RUNTIME_WHEN_SUPERVISOR_DIES",
    "require_report": "AGENT_RUNTIME_REQUIRE_REPORT",
    "cleanup_policy": "AGENT_RUNTIME_CLEANUP_POLICY",
    "min_free_space": "AGENT_RUNTIME_MIN_FREE_SPACE",
    "gc_interval": "AGENT_RUNTIME_GC_INTERVAL",
    "retries": "AGENT_RUNTIME_RETRIES",
    "retry_delay": "AGENT_RUNTIME_RETRY_DELAY",
    "model_failures": "AGENT_RUNTIME_MODEL_FAILURES",
    "self_test": "AGENT_RUNTIME_SELF_TEST",
    "fallback": "AGENT_RUNTIME_FALLBACK",
    "agents": "AGENT_RUNTIME_AGENTS",
    "agents_order": "AGENT_RUNTIME_AGENTS_ORDER",
    "breaker_failures": "AGENT_RUNTIME_BREAKER_FAILURES",
    "breaker_cooldown": "AGENT_RUNTIME_BREAKER_COOLDOWN",
    "allow_write_capable_credential": "AGENT_RUNTIME_ALLOW_WRITE_CAPABLE",
    "skills_source": "AGENT_RUNTIME_SKILLS_SOURCE",
    "skills_sources": "AGENT_RUNTIME_SKILLS_SOURCES",
    "skills": None,
    "read_only_mode": "AGENT_RUNTIME_READ_ONLY",
    "allowed_tools": "AGENT_RUNTIME_ALLOWED_TOOLS",
    "kubeconfig_path": "AGENT_RUNTIME_KUBECONFIG",
    "metrics_enabled": "AGENT_RUNTIME_METRICS",
    "structured_logging": "AGENT_RUNTIME_STRUCTURED_LOGGING",
    "log_level": "AGENT_RUNTIME_LOG_LEVEL",
    "anthropic_api_key": "ANTHROPIC_API_KEY",
    "anthropic_api_key_file": None,
    "openai_api_key": "OPENAI_API_KEY",
    "openai_api_key_file": None,
    "gemini_api_key": "GEMINI_API_KEY",
    "gemini_api_key_file": None,
}


def runtime_options() -> dict[str, Any]:
    options: dict[str, Any] = json_schema()["$defs"]["AgentRuntimeSection"]["properties"]
    return options


def uncommented() -> str:
    """The example file with every commented-out option in force."""
    text = re.sub(r"(?m)^( *)#(?! )", r"\1", example())
    text = re.sub(r"(?m)^#( +\w+:)", r"\1", text)
    sections = "agents|clusters|models|budgets|sources|sinks"
    return re.sub(rf"(?m)^({sections}): \{{\}}\n", "", text)


def test_the_section_has_exactly_the_keys_of_the_requirements() -> None:
    """Every key of the table is there with its variable, and no other one (req 2.1, 20.2)."""
    options = runtime_options()

    assert list(options) == list(TABLE)
    for key, variable in TABLE.items():
        own = [name for name in options[key]["x-environment"] if "__" not in name]
        assert own[:1] == ([variable] if variable else [])


def test_the_schema_is_a_schema_and_every_option_has_its_words() -> None:
    """Editors get a valid draft 2020-12 schema with descriptions and defaults (req 20.2)."""
    schema = json_schema()

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for definition in schema["$defs"].values():
        assert definition["additionalProperties"] is False
        for option in definition["properties"].values():
            assert option["description"].endswith(".")
    assert runtime_options()["max_duration_minutes"]["default"] == 10


def test_the_schema_takes_what_kubecase_takes_and_refuses_what_it_refuses() -> None:
    """The example passes the schema; misspelt keys and impossible values do not."""
    validator = Draft202012Validator(json_schema())
    yaml = YAML(typ="safe")

    assert list(validator.iter_errors(yaml.load(uncommented()))) == []
    for wrong in (
        {"agent_runtime": {"agnt": "x"}}, {"agent_runtime": {"max_duration_minutes": 0}},
        {"agent_runtime": {"log_level": "loud"}}, {"agent_runtime": {"max_output": "5 parsecs"}},
        {"agent_runtime": {"read_only_mode": "yes"}}, {"clusters": {"a b": {}}}, {"stroe": {}},
    ):  # fmt: skip
        assert list(validator.iter_errors(wrong)), wrong


def test_the_example_loads_and_changes_nothing(tmp_path: Path) -> None:
    """configs/agent-runtime.yaml loads and every option in it is the default (req 20.7)."""
    path = ROOT / "configs" / "agent-runtime.yaml"

    from_example = load({}, HOME, path, tmp_path)
    from_nothing = load({}, HOME, None, tmp_path)

    assert path.read_text() == example()
    assert from_example.settings == from_nothing.settings
    assert from_example.warnings == ()


def test_every_option_of_the_example_may_be_used(tmp_path: Path) -> None:
    """With every # removed the example loads, and every option comes from it (req 20.7)."""
    for key in ("anthropic", "openai", "gemini", "llm-proxy", "mcp", "webhook-key"):
        (tmp_path / key).write_text("sk-something")
        (tmp_path / key).chmod(0o600)
    text = uncommented().replace("/run/secrets", str(tmp_path))
    text = re.sub(r"(?m)^ +\w+_api_key: \.\.\.\n", "", text)
    # These are in a file already.
    text = re.sub(r"(?m)^ +(key|token|url|secret)_env: .*\n", "", text)
    text = re.sub(r"(?m)^ +url: https://hooks.*\n", "", text)
    (tmp_path / "slack-webhook").write_text("https://hooks.example.com/services/T0/B0/x")
    (tmp_path / "slack-webhook").chmod(0o600)
    (tmp_path / "kubecase.yaml").write_text(text)

    found = load({}, HOME, None, tmp_path)

    defaults = {row.key for row in effective(found) if row.origin == "default"}
    keys = {f"agent_runtime.{key}_api_key" for key in ("anthropic", "openai", "gemini")}
    own = {f"sinks.team.{key}" for key in ("url", "url_env", "secret_env")}
    others = {"models.company.key_env", "sources.faults.token_env"}
    assert defaults == {*keys, *others, *own}
    assert set(found.settings.agents) == {"claude"}
    assert found.settings.clusters["production"].context == "production"


def test_the_page_is_made_from_the_schema(tmp_path: Path) -> None:
    """docs/settings.md and the example in configs are what the schema says today (req 20.2)."""
    written = write_files(tmp_path)

    for path in written:
        checked_in = ROOT / path.relative_to(tmp_path)
        assert path.read_text() == checked_in.read_text(), (
            "run: python -m kubecase.app.settings.describe ."
        )


def test_the_page_lists_every_option_that_is_in_force(tmp_path: Path) -> None:
    """Whatever `config show` prints stands on the page with type, default, variables (req 20.2)."""
    environ = {**HOME, "KUBECASE_AGENTS__CLAUDE__MODEL": "m", "KUBECASE_CLUSTERS__C__CONTEXT": "c"}
    page = reference()

    for row in effective(load({}, environ, None, tmp_path)):
        key = row.key.rpartition(".")[2]
        assert re.search(rf"(?m)^\| `{key}` \| [^|]+ \| [^|]+ \| `[A-Z_<>`, ]+` \| .+ \|$", page), (
            key
        )


@pytest.mark.parametrize("policy", CleanupPolicy)
def test_every_cleanup_policy_may_be_set(tmp_path: Path, policy: CleanupPolicy) -> None:
    """The policies that workspaces know are those that settings take (req 1.10)."""
    found = load({"agent_runtime.cleanup_policy": str(policy)}, HOME, None, tmp_path)

    assert CleanupPolicy(found.settings.agent_runtime.cleanup_policy) is policy
    assert set(runtime_options()["cleanup_policy"]["enum"]) == {str(each) for each in CleanupPolicy}
