"""Credential plugins of a kubeconfig: a program of the operator's that prints a token."""

import json
import os
import pwd
import subprocess
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any

import anyio
import httpx2

from kubecase.core.errors import ClusterUnavailable

SECONDS = 15.0
VERSIONS = frozenset(
    f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1")
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PluginAuth(httpx2.Auth):
    """Sends the token that the plugin prints; asks the plugin again after a 401.

    The plugin gets PATH and HOME, what the kubeconfig sets for it and what `environment` adds,
    nothing else of ours. Raises ClusterUnavailable if it fails, hangs or prints no token.
    """

    def __init__(self, plugin: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._argv = [str(plugin["command"]), *map(str, plugin.get("args") or ())]
        self._version = str(plugin.get("apiVersion"))
        own = {str(each["name"]): str(each["value"]) for each in plugin.get("env") or ()}
        info = {
            "apiVersion": self._version,
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        self._environment = {
            "PATH": _PATH,
            "HOME": pwd.getpwuid(os.getuid()).pw_dir,
            "KUBERNETES_EXEC_INFO": json.dumps(info),
            **environment,
            **own,
        }
        self._token: str | None = None

    def sync_auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Refuse: our client is asynchronous."""
        raise RuntimeError("the client is asynchronous")

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send `request` with the token, once more with a new one if the first is refused."""
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
            response = yield request
            if response.status_code != 401:
                return
        await self.renew()
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    @property
    def token(self) -> str | None:
        """The token that was printed last."""
        return self._token

    async def renew(self) -> None:
        """Ask the plugin for a token, which then goes with every request."""
        self._token = await self._ask()

    async def _ask(self) -> str:
        program = os.path.basename(self._argv[0])
        try:
            with anyio.fail_after(SECONDS):
                done = await anyio.run_process(
                    self._argv, env=self._environment, stdin=subprocess.DEVNULL, check=False
                )
        except OSError as error:
            raise _failed(program, f"cannot be started: {error.strerror}") from error
        except TimeoutError:
            raise _failed(program, f"gave no answer within {SECONDS:.0f} s") from None
        if done.returncode != 0:
            raise _failed(program, f"exited with code {done.returncode}")
        try:
            token = json.loads(done.stdout)["status"]["token"]
        except (ValueError, KeyError, TypeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise _failed(program, "printed no token")
        return token


def _failed(program: str, why: str) -> ClusterUnavailable:
    return ClusterUnavailable(
        f"cannot get a credential: the plugin {program} {why}",
        hint="Run the kubeconfig's `exec` command by hand; only plugins that print a token work.",
    )
