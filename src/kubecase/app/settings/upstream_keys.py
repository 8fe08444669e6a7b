"""The keys of the servers of models: each goes only where it was told to go."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kubecase.app.settings.keys import KeyUnusable, read_key_file
from kubecase.app.settings.loading import Gathered
from kubecase.core.ports import Credential

VENDOR_KEYS: Mapping[str, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
}
"""The key of `agent_runtime` that belongs to the vendor of each protocol."""


def upstream_keys(
    gathered: Gathered, environ: Mapping[str, str], model_keys: Mapping[str, Credential]
) -> Iterator[tuple[str, Credential]]:
    """The key of every entry of `models` that has one; what is wrong with one is a finding."""
    models = gathered.tree.get("models")
    for name, section in models.items() if isinstance(models, Mapping) else ():
        if not isinstance(section, Mapping):
            continue
        try:
            key = _key(gathered, str(name), section, environ, model_keys)
        except (KeyUnusable, ValueError) as error:
            gathered.finding(("models", name), str(error))
            continue
        if key is not None:
            yield str(name), key
            _warn_of_plain_text(gathered, str(name), section)


def source_tokens(
    gathered: Gathered, environ: Mapping[str, str]
) -> Iterator[tuple[str, Credential]]:
    """The token of every entry of `sources` that has one; what is wrong with one is a finding."""
    sources = gathered.tree.get("sources")
    for name, section in sources.items() if isinstance(sources, Mapping) else ():
        if not isinstance(section, Mapping):
            continue
        variable, file = section.get("token_env"), section.get("token_file")
        try:
            if isinstance(file, str):
                value, warning = read_key_file(gathered.path(f"sources.{name}.token_file", file))
                gathered.warnings += [warning] if warning else []
                yield str(name), Credential(variable=f"sources.{name}.token_file", value=value)
            elif isinstance(variable, str):
                yield str(name), Credential(variable=variable, value=_held(variable, environ))
        except (KeyUnusable, ValueError) as error:
            gathered.finding(("sources", name), str(error))


def _held(variable: str, environ: Mapping[str, str]) -> str:
    value = environ.get(variable, "").strip()
    if not value or any(not 33 <= ord(c) < 127 for c in value):
        raise KeyUnusable(f"the variable {ascii(variable)[1:-1]} holds no token")
    return value


def _key(
    gathered: Gathered,
    name: str,
    section: Mapping[str, Any],
    environ: Mapping[str, str],
    model_keys: Mapping[str, Credential],
) -> Credential | None:
    variable, file = section.get("key_env"), section.get("key_file")
    if section.get("auth") == "none":
        if variable or file:
            raise KeyUnusable("has a key, and `auth: none`")
        return None
    if variable and file:
        raise KeyUnusable("is given two keys: key_env and key_file")
    if isinstance(file, str):
        value, warning = read_key_file(gathered.path(f"models.{name}.key_file", file))
        gathered.warnings += [warning] if warning else []
        return Credential(variable=f"models.{name}.key_file", value=value)
    if isinstance(variable, str):
        value = environ.get(variable, "").strip()
        if not value or any(not 33 <= ord(c) < 127 for c in value):
            raise KeyUnusable(f"the variable {ascii(variable)[1:-1]} of key_env holds no key")
        return Credential(variable=variable, value=value)
    if section.get("base_url"):
        return None
    return model_keys.get(VENDOR_KEYS.get(str(section.get("protocol")), ""))


def _warn_of_plain_text(gathered: Gathered, name: str, section: Mapping[str, Any]) -> None:
    try:
        parts = urlsplit(str(section.get("base_url") or "https:"))
        host = parts.hostname or ""
    except ValueError:
        return  # the model says what is wrong with it
    if parts.scheme == "http" and host not in {"localhost", "::1"} and not host.startswith("127."):
        gathered.warnings.append(f"models.{name} sends its key to {host} without encryption")
