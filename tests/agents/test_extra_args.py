"""What an operator may add to the command line of a CLI, and which model names go through."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.agent import a_briefing
from kubecase.agents.claude import Claude
from kubecase.agents.codex import Codex
from kubecase.agents.gemini import Gemini
from kubecase.agents.goose import Goose
from kubecase.agents.opencode import Opencode
from kubecase.agents.options import AgentSettings
from kubecase.core.errors import AgentUnavailable
from kubecase.core.ports import Credential, ToolServer

KINDS: dict[str, Callable[..., Any]] = {
    "claude": Claude, "codex": Codex, "gemini": Gemini, "goose": Goose, "opencode": Opencode,
}  # fmt: skip
SERVER = ToolServer(url="http://127.0.0.1:8183/mcp", token="kubecase-token")
WORKSPACE = Path("/srv/cases/incident-1")


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("claude", ("--effort", "high", "--fallback-model=sonnet", "--include-partial-messages")),
        ("codex", ("-c", "model_reasoning_effort=high")),
        ("codex", ("--config=model_verbosity=low",)),
        ("goose", ("--debug", "--max-tool-repetitions", "5")),
        ("opencode", ("--thinking",)),
    ],
)
def test_harmless_options_are_passed_on(name: str, extra: tuple[str, ...]) -> None:
    """What only asks for more thought or more words reaches the CLI as it was written."""
    agent = KINDS[name](extra_args=extra, tool_server=SERVER, model="m-1")

    argv = agent.command(a_briefing(WORKSPACE), WORKSPACE, Path("/srv/p")).argv

    at = argv.index(extra[0])
    assert argv[at : at + len(extra)] == extra


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("claude", ("--dangerously-skip-permissions",)),
        ("claude", ("--effort", "--mcp-config")),
        ("codex", ("-c", 'sandbox_mode="danger-full-access"')),
        ("codex", ("-c", "model_reasoning_effort=high\nsandbox_mode=x")),
        ("codex", ("-c",)),
        ("codex", ("--enable", "shell_tool")),
        ("codex", ("-s", "workspace-write")),
        ("gemini", ("--yolo",)),
        ("gemini", ("--debug",)),
        ("goose", ("--with-builtin", "developer")),
        ("goose", ("--debug=yes",)),
        ("goose", ("--max-tool-repetitions", "0")),
        ("opencode", ("--auto",)),
        ("opencode", ("--variant", "high")),
        ("opencode", ("--agent", "build")),
        ("opencode", ("a prompt",)),
    ],
)
def test_any_other_option_is_refused(name: str, extra: tuple[str, ...]) -> None:
    """An option that is not on the list of its CLI stops the run before it begins, with words."""
    options = AgentSettings(
        model="m-1", extra_args=extra, credential=Credential(variable="K", value="k-1")
    )

    with pytest.raises(AgentUnavailable, match=f"cannot give the option .* to {name}") as caught:
        KINDS[name].configured(options)  # type: ignore[attr-defined]

    assert name in str(caught.value.hint)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("model", ["", " ", "-m", "--yolo", "a b", "a\nb", "a\0b", "x" * 201])
def test_a_name_that_is_none_is_refused(name: str, model: str) -> None:
    """An empty model, one that is an option, or one of two words never reaches a CLI."""
    with pytest.raises(AgentUnavailable, match="model") as caught:
        KINDS[name](model=model)

    assert f"agents.{name}.model" in str(caught.value.hint)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("model", ["sonnet", "claude-sonnet-4-5[1m]", "openai/gpt-5", "qwen3:8b"])
def test_a_model_goes_through_as_it_is(name: str, model: str) -> None:
    """Aliases and names of other vendors are not read here: the model's server knows them."""
    agent = KINDS[name](model=model, tool_server=SERVER)

    command = agent.command(a_briefing(WORKSPACE), WORKSPACE, Path("/srv/p"))

    said = [
        *command.argv,
        *command.environment.values(),
        *map(bytes.decode, command.files.values()),
    ]
    assert any(model in each for each in said)
