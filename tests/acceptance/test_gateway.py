"""The cluster gateway and the tool by themselves, as installed commands."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from fakes.kube_api import Authority, FakeCluster, recorded
from fakes.kubectls import WHY_NOT, kubectls

from .conftest import KUBECASE, Home

TOKEN = "real-credential-of-the-cluster-0123456789"
pytestmark = pytest.mark.skipif(not kubectls(), reason=WHY_NOT)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    authority = Authority.make(tmp_path)
    with FakeCluster(recorded("crashloop"), token=TOKEN, authority=authority) as fake:
        yield fake


@contextmanager
def gateway(home: Home, *words: str) -> Iterator[tuple[Any, list[str]]]:
    """The command, once it serves, and what it has said until then."""
    process = home.start("gateway", *words)
    said: list[str] = []
    try:
        while not said or "Ctrl-C ends it" not in said[-1]:
            line = process.stderr.readline().decode()
            assert line, said
            said.append(line)
        yield process, said
    finally:
        process.kill()
        process.communicate()


def kubectl(home: Home, path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["kubectl", "--kubeconfig", str(path), *words], env=home.environment, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip


def test_one_command_gives_a_read_only_kubeconfig(
    home: Home, tmp_path: Path, cluster: FakeCluster
) -> None:
    """A person reads with it and changes nothing; after Ctrl-C it leads nowhere and is gone."""
    real, out = cluster.kubeconfig(tmp_path / "real"), tmp_path / "out"
    with gateway(home, "--kubeconfig", str(real), "--out", str(out)) as (process, said):
        assert out.stat().st_mode & 0o777 == 0o600
        assert TOKEN not in out.read_text()
        assert "https://127.0.0.1:" in said[0]
        assert "crashloop-" in kubectl(home, out, "get", "pods", "-n", "shop").stdout
        denied = kubectl(home, out, "delete", "pod", "x", "-n", "shop")
        assert "kubecase: this access is read-only" in denied.stderr
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=20)

    assert process.returncode == 0
    assert b"of them denied" in rest
    assert not out.exists()
    assert cluster.reached == []
    (record,) = (home.data / "audit").glob("gateway-*.jsonl")
    assert home.run("verify", str(record)).returncode == 0
    data = bytearray(record.read_bytes())
    data[200] ^= 1
    record.write_bytes(data)
    changed = home.run("verify", str(record))
    assert changed.returncode == 1
    assert b"line 1" in changed.stdout


def test_an_existing_file_is_not_lost(home: Home, tmp_path: Path, cluster: FakeCluster) -> None:
    """A file at --out stays unless --force is given; the real kubeconfig stays even then."""
    real, out = cluster.kubeconfig(tmp_path / "real"), tmp_path / "out"
    out.write_text("mine")
    words = ("gateway", "--kubeconfig", str(real), "--out")
    assert home.run(*words, str(out)).returncode == 2
    assert out.read_text() == "mine"
    before = real.read_text()
    assert home.run(*words, str(real), "--force").returncode == 2
    assert real.read_text() == before
    done = home.run(*words, str(out), "--force", "--for", "1ms")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--listen", "localhost"), "this is no address and port"),
        (("--listen", "192.0.2.1:0"), "cannot listen on"),
        (("--listen", "0.0.0.0:0"), "has to name one address"),
        (("--for", "soon"), "is not a duration"),
        (("--extra-resources", "secrets.example.com"), "Secrets are not read"),
        (("--context", "other"), "it has no context 'other'"),
    ],
)
def test_what_cannot_be_served_is_told_of_first(
    home: Home, tmp_path: Path, cluster: FakeCluster, words: tuple[str, ...], says: str
) -> None:
    """A wrong address, time, resource or context is one clear error, and no file is written."""
    real, out = cluster.kubeconfig(tmp_path / "real"), tmp_path / "out"
    done = home.run("gateway", "--kubeconfig", str(real), "--out", str(out), *words)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert not out.exists()


@pytest.mark.anyio
async def test_any_agent_gets_the_tool_over_stdio(
    home: Home, tmp_path: Path, cluster: FakeCluster
) -> None:
    """An MCP client starts `kubecase mcp`, reads the cluster with it, and changes nothing."""
    real = cluster.kubeconfig(tmp_path / "real")
    server = StdioServerParameters(
        command=str(KUBECASE), args=["mcp", "--kubeconfig", str(real)], env=home.environment
    )
    async with stdio_client(server) as (reading, writing), ClientSession(reading, writing) as agent:
        await agent.initialize()
        assert [tool.name for tool in (await agent.list_tools()).tools] == ["kubectl_read"]
        pods = await agent.call_tool("kubectl_read", {"command": "get pods -n shop -o name"})
        refused = await agent.call_tool("kubectl_read", {"command": "delete pod x"})

    assert "pod/crashloop-" in str(pods.content)
    assert refused.is_error
    assert cluster.reached == []
    (record,) = (home.data / "audit").glob("mcp-*.jsonl")
    kinds = {json.loads(line)["kind"] for line in record.read_text().splitlines()}
    assert kinds == {"cluster", "tool"}
