"""How a fake API server is trusted and found: its certificates and its kubeconfig."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own with one server certificate for 127.0.0.1."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Make both in `directory`, with the openssl program."""

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        as_ca = ("-subj", "/CN=fake cluster", "-addext", "keyUsage=critical,keyCertSign")
        openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", *as_ca)
        openssl("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=fake")
        (directory / "server.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:fake.cluster\n")
        by_ca = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
        with_name = ("-extfile", "server.ext")
        openssl("x509", "-req", "-in", "server.csr", *by_ca, "-out", "server.crt", *with_name)
        return cls(directory / "ca.crt", directory / "server.crt", directory / "server.key")


def kubeconfig_for(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """A kubeconfig with one context, `fake`, as it is parsed."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": dict(cluster)}],
        "users": [{"name": "someone", "user": dict(user)}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "someone"}}],
    }
