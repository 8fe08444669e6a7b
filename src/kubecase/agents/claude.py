"""Claude Code, headless and read-only: no shell, the Read tool, and the tools of kubecase if any.

The prompt names the files of the case; the answer is taken from what it leaves by `write_report`,
or else from the result in the stream, since this agent cannot write files. Checked against version
2.1.330 (`--restricted` must exist).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import NAMESPACE_URL, uuid5

from kubecase.agents.claude_events import events_of
from kubecase.agents.claude_start import Demanded
from kubecase.agents.claude_verdict import verdict_of
from kubecase.agents.extra_args import permitted_args
from kubecase.agents.lines import parsed
from kubecase.agents.options import AgentSettings, require_argument, require_model, unusable
from kubecase.agents.readonly import (
    SKILL,
    claude_denied,
    claude_settings,
    claude_settings_findings,
    reading_tools,
)
from kubecase.agents.served import SERVER, SIGTERM, TOOLS
from kubecase.core.briefing import Briefing
from kubecase.core.errors import AgentUnavailable
from kubecase.core.model import Command, Exit, Verdict
from kubecase.core.ports import AgentEvent, Capabilities, Credential, Offers, ToolServer

SWITCHES: Mapping[str, str] = {
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_CRON": "1",
    "CLAUDE_CODE_MAX_RETRIES": "3",
    "API_TIMEOUT_MS": "120000",
    "BASH_DEFAULT_TIMEOUT_MS": "30000",
    "BASH_MAX_TIMEOUT_MS": "60000",
}
"""Nothing is looked up, updated or reported; a file named by `@path` in a prompt is not read."""

DEFAULT_TURNS = 30

SERVED = frozenset(f"mcp__{SERVER}__{tool}" for tool in TOOLS)
"""The tools of kubecase's own server, by the names that this CLI gives them."""

PLUGIN = ".claude"
"""The directory that is a plugin for Claude Code: its `skills` are those of the workspace."""

_MANIFEST: Mapping[str, str] = {"name": "kubecase", "version": "1.0.0", "description": "Skills."}
_KEY = "ANTHROPIC_API_KEY"
_BASE_URL = "ANTHROPIC_BASE_URL"
# No user information: an address is shown where a key must not be.
_ADDRESS = re.compile(r"https?://[^\s/@]+(/[^\s@]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claude:
    """The adapter for Claude Code.

    `program` is a name on PATH or a path. `credential` is given to it as ANTHROPIC_API_KEY,
    whatever the name it is configured under. `base_url` replaces the vendor's address.
    `tool_server` is offered to it under the name k8s. Raises AgentUnavailable for a value that the
    CLI would refuse, or that would loosen its rules.
    """

    program: str = "claude"
    model: str | None = None
    max_turns: int = DEFAULT_TURNS
    max_budget_usd: float | None = None
    credential: Credential | None = None
    base_url: str | None = None
    extra_args: tuple[str, ...] = ()
    tools: tuple[str, ...] = ("Read",)
    tool_server: ToolServer | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is started."""
        require_argument("claude", self.program, "agent_command")
        require_model("claude", self.model)
        if self.max_turns < 1:
            raise unusable("claude", "max_turns is below 1", "max_turns")
        if self.max_budget_usd is not None and not 0.0001 <= self.max_budget_usd <= 100_000:
            raise unusable("claude", "max_budget_usd is not 0.0001 to 100000", "max_budget_usd")
        if self.base_url is not None and not _ADDRESS.fullmatch(self.base_url):
            raise unusable("claude", "base_url is not a plain http(s) address", "base_url")
        permitted_args("claude", self.extra_args)
        reading_tools("claude", self.tools)

    @classmethod
    def configured(cls, options: AgentSettings) -> Self:
        """The adapter for `options`; raises AgentUnavailable when there is no key for it."""
        if options.credential is None or not options.credential.value:
            raise AgentUnavailable(
                "cannot use the agent claude: there is no model key",
                hint=f"Set {_KEY} (or CLAUDE_API_KEY); AGENT_RUNTIME_COMMAND or "
                "agent_runtime.agent_command may name another program.",
            )
        return cls(
            program=options.program or "claude",
            model=options.model,
            max_turns=DEFAULT_TURNS if options.max_turns is None else options.max_turns,
            max_budget_usd=options.max_budget_usd,
            credential=options.credential,
            base_url=options.base_url,
            extra_args=options.extra_args,
            tools=reading_tools("claude", options.allowed_tools),
        )

    @property
    def name(self) -> str:
        """`claude`."""
        return "claude"

    @property
    def variables(self) -> frozenset[str]:
        """Its switches, its key and its base URL."""
        return frozenset({*SWITCHES, _KEY, _BASE_URL})

    @property
    def capabilities(self) -> Capabilities:
        """All of it, and a program of its own."""
        return Capabilities(stream=True, cost=True, budget=True, turns=True, denials=True)

    @property
    def offers(self) -> Offers:
        """The reading tools that it is given, the one for skills, and those of kubecase."""
        return Offers(names=frozenset(self.tools) | SERVED | {SKILL})

    def command(self, briefing: Briefing, workspace: Path, private: Path) -> Command:
        """Claude Code with the prompt on standard input and its own files in `private`."""
        home = briefing.environment.get("HOME")
        has_skills = bool(briefing.skills)
        settings = claude_settings(workspace, Path(home) if home else None, skills=has_skills)
        if findings := claude_settings_findings(settings):
            raise AgentUnavailable(f"cannot write settings for claude: {'; '.join(findings)}")
        return Command(
            argv=self._argv(briefing, workspace, private),
            environment={**briefing.environment, **self._own_variables()},
            cwd=workspace,
            stdin=briefing.user_prompt.encode("utf-8", "replace"),
            # After SIGINT the CLI exits with 0 and may print no result.
            stop_signal=SIGTERM,
            files={f"{PLUGIN}/.claude-plugin/plugin.json": json.dumps(_MANIFEST).encode()}
            if has_skills
            else {},
            private_files={
                "system.md": briefing.system_prompt.encode("utf-8", "replace"),
                "settings.json": json.dumps(settings, indent=2).encode(),
                "mcp.json": json.dumps({"mcpServers": self._servers()}).encode(),
            },
            read_only_paths=(Path(self.program),) if self.program.startswith("/") else (),
        )

    def _argv(self, briefing: Briefing, workspace: Path, private: Path) -> tuple[str, ...]:
        # Sibling directories of later attempts have names of their own, hence other ids.
        session = uuid5(NAMESPACE_URL, f"{briefing.environment['INCIDENT_ID']}/{workspace.name}")
        budget = self.max_budget_usd
        # Skills are commands to it: they cannot be had without each other.
        skills = (
            ("--plugin-dir", str(workspace / PLUGIN))
            if briefing.skills
            else ("--disable-slash-commands",)
        )
        return (
            self.program, "-p",
            "--output-format", "stream-json", "--verbose",
            "--restricted",
            "--tools", ",".join((*self.tools, SKILL) if briefing.skills else self.tools),
            "--allowedTools", ",".join(("Read(./**)", *self._served_tools())),
            "--disallowedTools", ",".join(claude_denied(skills=bool(briefing.skills))),
            "--permission-mode", "dontAsk",
            "--settings", str(private / "settings.json"),
            "--setting-sources", "",
            "--strict-mcp-config", "--mcp-config", str(private / "mcp.json"),
            *skills,
            "--no-session-persistence",
            "--session-id", str(session),
            "--append-system-prompt-file", str(private / "system.md"),
            "--max-turns", str(self.max_turns),
            *(() if budget is None else ("--max-budget-usd", f"{budget:.4f}")),
            *(() if self.model is None else ("--model", self.model)),
            *self.extra_args,
        )  # fmt: skip

    def _served_tools(self) -> tuple[str, ...]:
        return () if self.tool_server is None else tuple(sorted(SERVED))

    def _servers(self) -> dict[str, Any]:
        if self.tool_server is None:
            return {}
        headers = {"Authorization": f"Bearer {self.tool_server.token}"}
        return {SERVER: {"type": "http", "url": self.tool_server.url, "headers": headers}}

    def _own_variables(self) -> dict[str, str]:
        own = dict(SWITCHES)
        if self.credential is not None:
            own[_KEY] = self.credential.value
        if self.base_url is not None:
            own[_BASE_URL] = self.base_url
        return own

    @property
    def _demanded(self) -> Demanded:
        # Whoever concludes a run that another process began does not know what that one served.
        needed = self.tool_server is not None
        return Demanded(
            tools=frozenset(self.tools),
            # Nor whether there were skills, by which nothing can be done that Read cannot do.
            optional=frozenset({SKILL}),
            served=SERVED,
            served_needed=needed,
        )

    def verify_start(self, line: bytes) -> str | None:
        """What its first event tells of permission mode, version, tools and servers."""
        event = parsed(line) if b'"init"' in line else None
        if event is None or (event.get("type"), event.get("subtype")) != ("system", "init"):
            return None
        return self._demanded.mismatch(event)

    def events(self, line: bytes) -> tuple[AgentEvent, ...]:
        """What one line of its stream tells."""
        return events_of(line)

    def verdict(self, lines: Iterable[bytes], exit: Exit) -> Verdict:
        """What its stream claims, and whether it started with exactly the tools it was given."""
        return verdict_of(lines, exit, self._demanded)
