"""How a cluster's server is spoken to, for whoever brings an HTTP library of their own: TLS and
the Authorization header, from the same credentials as our client.
"""

import asyncio
import base64
import ssl
from pathlib import Path

from kubecase.clusters.credentials import Credentials
from kubecase.clusters.plugin import PluginAuth
from kubecase.core.errors import ClusterUnavailable

MAX_TOKEN = 64 * 1024


def tls_context(credentials: Credentials) -> ssl.SSLContext:
    """What the server's certificate is checked against, with our own where there is one.

    Raises ClusterUnavailable for certificates and keys that cannot be used.
    """
    from lightkube.config.client_adapter import verify_cluster  # noqa: PLC0415 - slow to import
    from lightkube.core.exceptions import ConfigError  # noqa: PLC0415 - slow to import

    config = credentials.config
    try:
        assert config.user is not None  # noqa: S101 - every context was found to have its user
        return verify_cluster(config.cluster, config.user, config.abs_file, trust_env=False)
    except (OSError, ValueError, ConfigError, TypeError) as error:
        raise ClusterUnavailable(
            f"cannot use the credentials of context {credentials.context}: {type(error).__name__}",
            hint="Are its certificate and key files there, readable and in PEM form?",
        ) from error


class Authorization:
    """The Authorization header of a credential: fixed, from a file, or from a plugin.

    A token file is read again after each refusal, a plugin asked again. One renewal at a time.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._turn = asyncio.Lock()
        self._value: str | None = None
        self._known = False
        self._plugin = (
            None
            if credentials.plugin is None
            else PluginAuth(credentials.plugin, credentials.plugin_environment)
        )

    @property
    def renewable(self) -> bool:
        """Whether asking again may give another one."""
        user = self._credentials.config.user
        return self._plugin is not None or (user is not None and user.token_file is not None)

    async def value(self, *, refused: str | None = None) -> str | None:
        """The header's value; None where the credential is a certificate, or there is none.

        With `refused`, the value that the server did not take, a new one is asked for unless
        somebody else has done so meanwhile. Raises ClusterUnavailable.
        """
        async with self._turn:
            if not self._known or (refused is not None and refused == self._value):
                self._value, self._known = await self._asked(), True
            return self._value

    async def _asked(self) -> str | None:
        if self._plugin is not None:
            await self._plugin.renew()
            return f"Bearer {self._plugin.token}"
        user = self._credentials.config.user
        if user is None:
            return None
        if user.token_file is not None:
            path = Path(self._credentials.config.abs_file(user.token_file))
            return f"Bearer {await asyncio.to_thread(_token_of, path)}"
        if user.token is not None:
            return f"Bearer {user.token}"
        if user.username and user.password:
            pair = f"{user.username}:{user.password}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        return None


def _token_of(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            token = file.read(MAX_TOKEN).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterUnavailable(
            f"cannot read the token file {path}: {type(error).__name__}",
            hint="It is named by the kubeconfig (tokenFile), or mounted with the service account.",
        ) from error
    if not token or not token.isprintable():
        raise ClusterUnavailable(
            f"the token file {path} holds no token",
            hint="It is named by the kubeconfig (tokenFile), or mounted with the service account.",
        )
    return token
