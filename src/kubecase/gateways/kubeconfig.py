"""The kubeconfig that leads to a gateway: one cluster, one user with a token of its run."""

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from kubecase.core.errors import KubecaseError


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayKubeconfig:
    """`server` is the gateway's address; `authority` the PEM that its certificate is of."""

    server: str
    authority: bytes
    token: str = field(repr=False)
    namespace: str | None = None
    context: str = "kubecase-read-only"

    def as_bytes(self) -> bytes:
        """The file: JSON, which is YAML too, so that nothing in it needs quoting of ours."""
        context = {"cluster": self.context, "user": self.context}
        if self.namespace:
            context["namespace"] = self.namespace
        value = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.context,
            "clusters": [
                {
                    "name": self.context,
                    "cluster": {
                        "server": self.server,
                        "certificate-authority-data": base64.b64encode(self.authority).decode(),
                    },
                }
            ],
            "users": [{"name": self.context, "user": {"token": self.token}}],
            "contexts": [{"name": self.context, "context": context}],
        }
        return json.dumps(value, indent=2).encode() + b"\n"


def refuse_existing(path: Path, *, replace: bool) -> None:
    """Raise KubecaseError for a file that is there and not to be replaced."""
    if not replace and (path.exists() or path.is_symlink()):
        raise _exists(path)


def _exists(path: Path) -> KubecaseError:
    return KubecaseError(
        f"there is a file {path} already",
        hint="Choose another name with --out, or replace it with --force.",
    )


def write_private(path: Path, data: bytes, *, replace: bool) -> None:
    """Write `data` to `path`, 0600, whole or not at all; raises KubecaseError.

    An existing file is replaced only with `replace`.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            file.write(data)
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)
            temporary.unlink()
    except FileExistsError:
        temporary.unlink(missing_ok=True)
        raise _exists(path) from None
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise KubecaseError(
            f"cannot write {path}: {error.strerror}",
            hint="Choose a directory that may be written with --out.",
        ) from error
