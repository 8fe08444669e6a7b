"""Addresses of sinks and the keys of their signatures: from the file, a variable, or a file of
their own. None of them is ever quoted.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kubecase.app.settings.keys import KeyUnusable, read_key_file
from kubecase.app.settings.kinds import http_url
from kubecase.app.settings.loading import Gathered
from kubecase.app.settings.values import SinkSecrets


def sink_secrets(
    gathered: Gathered, environ: Mapping[str, str]
) -> Iterator[tuple[str, SinkSecrets]]:
    """Address and key of every entry of `sinks`; what is wrong with one is a finding."""
    sinks = gathered.tree.get("sinks")
    for name, section in sinks.items() if isinstance(sinks, Mapping) else ():
        if not isinstance(section, Mapping):
            continue
        try:
            address = _address(gathered, str(name), section, environ)
            key = _given(gathered, str(name), "secret", section, environ)
        except (KeyUnusable, ValueError) as error:
            gathered.finding(("sinks", name), str(error))
            continue
        _warn_of_plain_text(gathered, str(name), address)
        yield str(name), SinkSecrets(address=address, key=key)


def _address(
    gathered: Gathered, name: str, section: Mapping[str, Any], environ: Mapping[str, str]
) -> str:
    own = section.get("url")
    given = _given(gathered, name, "url", section, environ)
    if own is not None and given is not None:
        raise KeyUnusable("is given two addresses: url, and url_env or url_file")
    if own is not None and not isinstance(own, str):
        raise KeyUnusable("has a url that is not a text")
    found = str(own).strip() if own is not None else given
    if found is None:
        raise KeyUnusable("has no address: give one of url, url_env, url_file")
    try:
        return http_url(found)
    except ValueError as error:
        # The words of the check quote nothing of it.
        raise KeyUnusable(f"has an address that {error}") from None


def _given(
    gathered: Gathered,
    name: str,
    what: str,
    section: Mapping[str, Any],
    environ: Mapping[str, str],
) -> str | None:
    variable, file = section.get(f"{what}_env"), section.get(f"{what}_file")
    if variable and file:
        raise KeyUnusable(f"is given two: {what}_env and {what}_file")
    if isinstance(file, str):
        value, warning = read_key_file(gathered.path(f"sinks.{name}.{what}_file", file))
        gathered.warnings += [warning] if warning else []
        return value
    if isinstance(variable, str):
        value = environ.get(variable, "").strip()
        if not value or any(not 33 <= ord(c) < 127 for c in value):
            shown = ascii(variable)[1:-1]
            raise KeyUnusable(f"the variable {shown} of {what}_env is empty or holds blanks")
        return value
    return None


def _warn_of_plain_text(gathered: Gathered, name: str, address: str) -> None:
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "http" and host not in {"localhost", "::1"} and not host.startswith("127."):
        gathered.warnings.append(f"sinks.{name} tells {host} without encryption")
