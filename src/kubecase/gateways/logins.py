"""Which log-ins of agent CLIs the model gateway can carry. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LoginKind = Literal["api_key", "oauth_token", "account", "cloud_identity", "helper_command", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How a CLI would identify itself to its vendor, described without the secret itself.

    `agent` is the CLI's name, `kind` what stands behind it, `detail` where it was found.
    """

    agent: str
    kind: LoginKind
    detail: str = ""


_WHY: Mapping[str, str] = {
    "oauth_token": "a subscription log-in ({detail}): its token is bound to the vendor's own "
    "program and address, so the gateway cannot hold it for the agent",
    "account": "an account log-in ({detail}): it is renewed by the program itself, which would "
    "have to keep it",
    "cloud_identity": "a cloud identity ({detail}): its requests are signed by the program itself",
    "helper_command": "a helper command ({detail}): it would run inside of the agent's reach",
}

# Prefixes by which a secret tells what it is.
_TOKENS: Mapping[str, LoginKind] = {
    "sk-ant-oat": "oauth_token",
    "sk-ant-ort": "oauth_token",
    "sk-ant-sid": "oauth_token",
    "ya29.": "account",
}

VARIABLES: Mapping[str, tuple[str, LoginKind]] = {
    "CLAUDE_CODE_OAUTH_TOKEN": ("claude", "oauth_token"),
    "CLAUDE_CODE_USE_BEDROCK": ("claude", "cloud_identity"),
    "CLAUDE_CODE_USE_VERTEX": ("claude", "cloud_identity"),
    "GOOGLE_GENAI_USE_VERTEXAI": ("gemini", "cloud_identity"),
    "GOOGLE_GENAI_USE_GCA": ("gemini", "account"),
}
"""Variables that make a CLI use another log-in than a key, and which."""

FILES: Mapping[str, tuple[str, LoginKind]] = {
    ".claude/.credentials.json": ("claude", "oauth_token"),
    ".codex/auth.json": ("codex", "account"),
    ".gemini/oauth_creds.json": ("gemini", "account"),
    ".local/share/opencode/auth.json": ("opencode", "account"),
}
"""Files below a home directory that hold such a log-in."""


def login_of_key(agent: str, key: str, detail: str) -> Login:
    """What `key` is, by its beginning; the key itself is not kept."""
    for start, kind in _TOKENS.items():
        if key.startswith(start):
            return Login(agent=agent, kind=kind, detail=detail)
    return Login(agent=agent, kind="api_key", detail=detail)


def carries(login: Login) -> str | None:
    """`None` if the gateway can carry `login`, else a sentence why not and what to do instead."""
    why = _WHY.get(login.kind)
    if why is None:
        return None
    told = why.format(detail=login.detail or login.kind)
    return (
        f"{login.agent} has {told}. Give kubecase an API key, or set `agents.{login.agent}."
        "model_gateway: false` to give it its own log-in, without budgets and without a record of "
        "its model calls."
    )
