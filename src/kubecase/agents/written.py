"""What is written for the CLIs, checked before it is used: settings, policies, lists of models.

Some of them pass over a file that they cannot read, or a value that they do not know, and then run
without it: Gemini CLI drops a policy with one wrong word. So each file is read back here as the CLI
would read it, and must be as it has to be, key by key.
"""

import json
import tomllib
from collections.abc import Mapping
from typing import Any

from kubecase.agents.served import SERVER, TOKEN, TOOLS
from kubecase.agents.shapes import Count, Text, differences, read
from kubecase.core.errors import AgentUnavailable

ADDRESS = Text(pattern=r"https?://[^\s/@\"\\]+(/[^\s@\"\\]*)?")
SERVED_AT = Text(pattern=r"http://127\.0\.0\.1:\d{1,5}/mcp")
MODEL = Text(pattern=r"[^\s-]\S{0,199}")

CODEX: Mapping[str, Any] = {
    "model_provider": "kubecase",
    "model_catalog_json": Text(pattern=r"/[^\0\n]+/models\.json"),
    "web_search": "disabled",
    "project_doc_max_bytes": 0,
    "developer_instructions": Text(pattern=r"(?s).+"),
    "model_providers": {
        "kubecase": {
            "name": "kubecase",
            "base_url": ADDRESS,
            "env_key": "OPENAI_API_KEY",
            "wire_api": "responses",
            "request_max_retries": 2,
            "stream_max_retries": 2,
        }
    },
    "shell_environment_policy": {"inherit": "core"},
    "mcp_servers": {
        SERVER: {
            "url": SERVED_AT,
            "bearer_token_env_var": TOKEN,
            "required": True,
            "enabled_tools": list(TOOLS),
        }
    },
}
CODEX_MODEL: Mapping[str, Any] = {
    "slug": MODEL,
    "display_name": MODEL,
    "base_instructions": Text(pattern=r"(?s).+"),
    "shell_type": "disabled",
    "visibility": "list",
    "supported_in_api": True,
    "priority": 1,
    "supported_reasoning_levels": [],
    "default_reasoning_summary": "none",
    "support_verbosity": True,
    "supports_search_tool": False,
    "experimental_supported_tools": [],
    "truncation_policy": {"mode": "tokens", "limit": Count(least=1000, most=100_000)},
    "context_window": Count(least=1000, most=10_000_000),
}
GEMINI: Mapping[str, Any] = {
    "security": {
        "auth": {"selectedType": "gemini-api-key"},
        "environmentVariableRedaction": {"enabled": True},
    },
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "model": {"disableLoopDetection": True, "maxSessionTurns": Count(least=1, most=1000)},
    "mcpServers": {
        SERVER: {
            "httpUrl": SERVED_AT,
            "headers": {"Authorization": f"Bearer ${TOKEN}"},
            "includeTools": list(TOOLS),
        }
    },
}
GOOSE_SERVER: Mapping[str, Any] = {
    "enabled": True,
    "type": "streamable_http",
    "name": SERVER,
    "description": "kubecase",
    "uri": SERVED_AT,
    "headers": {"Authorization": f"Bearer ${{{TOKEN}}}"},
    "env_keys": [TOKEN],
    "timeout": Count(least=1, most=3600),
    "bundled": False,
}


def settled(cli: str, *findings: tuple[str, ...]) -> None:
    """Raise AgentUnavailable if anything was found in what is to be written for `cli`."""
    found = [each for several in findings for each in several]
    if found:
        raise AgentUnavailable(
            f"cannot write settings for {cli}: {'; '.join(found)[:1000]}",
            hint=f"Check what is set under agents.{cli}; if that is right, please report this.",
        )


def codex_findings(config: bytes, catalog: bytes) -> tuple[str, ...]:
    """What is wrong with the configuration of Codex, and with the list of the one model it has."""
    value, wrong = read(config, tomllib.loads, "TOML")
    models, unreadable = read(catalog, json.loads, "JSON")
    found = [f"config.toml: {each}" for each in wrong or differences(value, CODEX)]
    listed = models.get("models") if isinstance(models, Mapping) else None
    if not isinstance(listed, list) or len(listed) != 1 or set(models) != {"models"}:
        unreadable = unreadable or ("does not hold one model alone",)
    else:
        unreadable = differences(listed[0], CODEX_MODEL)
    return (*found, *(f"models.json: {each}" for each in unreadable))


def gemini_findings(settings: bytes, policy: bytes, denied: tuple[str, ...]) -> tuple[str, ...]:
    """What is wrong with the settings and the policy of Gemini CLI; `denied` are its own tools."""
    value, wrong = read(settings, json.loads, "JSON")
    found = [f"settings.json: {each}" for each in wrong or differences(value, GEMINI)]
    rules, wrong = read(policy, tomllib.loads, "TOML")
    return (*found, *(f"policy.toml: {each}" for each in wrong or _rules(rules, denied)))


def _rules(value: Mapping[str, Any], denied: tuple[str, ...]) -> tuple[str, ...]:
    rules = value.get("rule")
    if set(value) != {"rule"} or not isinstance(rules, list):
        return ("holds something else than rules",)
    served = [f"mcp_{SERVER}_{tool}" for tool in TOOLS]
    wanted = (
        {"toolName": list(denied), "decision": "deny", "priority": Count(least=201, most=999)},
        {"toolName": served, "decision": "allow", "priority": Count(least=1, most=200)},
    )
    if len(rules) != len(wanted):
        return (f"has {len(rules)} rules in place of {len(wanted)}",)
    return tuple(
        f"rule {number}: {each}"
        for number, (rule, shape) in enumerate(zip(rules, wanted, strict=True), 1)
        for each in differences(rule, shape)
    )


def opencode_findings(config: bytes) -> tuple[str, ...]:
    """What is wrong with the configuration of opencode, whose last fitting permission counts."""
    value, wrong = read(config, json.loads, "JSON")
    model = value.get("model") if isinstance(value, Mapping) else None
    name = model.removeprefix("kubecase/") if isinstance(model, str) else ""
    shape: Mapping[str, Any] = {
        "autoupdate": False,
        "share": "disabled",
        "snapshot": False,
        "model": f"kubecase/{name}",
        "small_model": f"kubecase/{name}",
        "provider": {
            "kubecase": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": ADDRESS, "apiKey": "{env:OPENAI_API_KEY}"},
                "models": {name: {}},
            }
        },
        "permission": {"*": "deny", **{f"{SERVER}_{tool}": "allow" for tool in TOOLS}},
        "mcp": {
            SERVER: {
                "type": "remote",
                "url": SERVED_AT,
                "oauth": False,
                "headers": {"Authorization": f"Bearer {{env:{TOKEN}}}"},
            }
        },
    }
    nameless = differences(name, MODEL) and ("model is no plain name",)
    found = wrong or nameless or differences(value, shape)
    return tuple(f"opencode.json: {each}" for each in found)


def goose_findings(config: bytes) -> tuple[str, ...]:
    """What is wrong with the configuration of Goose: one extension is on, kubecase's own."""
    value, wrong = read(config, json.loads, "JSON")
    extensions = value.get("extensions") if isinstance(value, Mapping) else None
    if wrong or not isinstance(extensions, Mapping) or set(value) != {"extensions"}:
        return tuple(f"config.yaml: {each}" for each in wrong or ("holds more than extensions",))
    found = [
        f"the extension {ascii(name)[:80]} is not switched off"
        for name, each in extensions.items()
        if name != SERVER and (not isinstance(each, Mapping) or each.get("enabled") is not False)
    ]
    found += differences(extensions.get(SERVER), GOOSE_SERVER)
    return tuple(f"config.yaml: {each}" for each in found)
