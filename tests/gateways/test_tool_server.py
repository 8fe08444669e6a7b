"""The tools of an agent, over the protocol itself, before a real kubectl and a fake cluster."""

import json
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from fakes.kube_api import Authority, FakeCluster, recorded
from fakes.kube_rig import GatewayRig
from fakes.kubectls import WHY_NOT, kubectls, objects_for_top
from kubecase.core.redact import Redactor
from kubecase.gateways.audit import AuditLog, read_lines, verify
from kubecase.gateways.callers import AccessToken, Callers
from kubecase.gateways.families import shipped_resources
from kubecase.gateways.kubectl import Kubectl
from kubecase.gateways.tool_server import serving_tools
from kubecase.gateways.tools import Toolbox
from kubecase.service.case_files import WorkspaceFiles
from kubecase.workspace import Workspace

pytestmark = pytest.mark.skipif(not kubectls(), reason=WHY_NOT)
REPORT = "# Kubernetes Incident Triage Report\n\n" + "A table is missing. " * 10


@dataclass(frozen=True)
class Offered:
    """A tool server under test: where it is, who may call it, and what it works on."""

    url: str
    token: str
    workspace: Workspace
    record: Path
    cluster: FakeCluster
    toolbox: Toolbox

    @asynccontextmanager
    async def session(self) -> AsyncIterator[ClientSession]:
        """A client of the SDK's own, as agents' CLIs are."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            streamable_http_client(self.url, http_client=http) as (reading, writing),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            yield session

    async def call(self, tool: str, **arguments: Any) -> tuple[str, bool]:
        """The text of one call, and whether it was refused."""
        async with self.session() as session:
            answer = await session.call_tool(tool, arguments)
        (content,) = answer.content
        return str(getattr(content, "text", "")), bool(answer.is_error)


@asynccontextmanager
async def offered(directory: Path, *, with_cluster: bool = True) -> AsyncIterator[Offered]:
    authority = Authority.make(directory)
    workspace = Workspace.create(directory / "workspaces", str(uuid.uuid4()), 1)
    workspace.write(
        {"context/findings.json": b'{"summary": "known"}', "context/logs.txt": b"log\n"}
    )
    fake = FakeCluster(
        recorded("crashloop"), objects=objects_for_top(), token="real", authority=authority
    )
    with fake as cluster, GatewayRig(cluster.kubeconfig(directory / "k"), directory / "rig") as rig:
        audit = AuditLog.open(directory / "tools.jsonl", directory / "answers")
        listener = socket.create_server(("127.0.0.1", 0))
        token = AccessToken.new()
        async with Kubectl.ready(kubectls()[0], rig.config.as_bytes()) as kubectl:
            toolbox = Toolbox(
                resources=shipped_resources(), redactor=Redactor(), audit=audit,
                kubectl=kubectl if with_cluster else None, why_no_cluster="no cluster is connected",
                files=WorkspaceFiles(workspace=workspace),
            )  # fmt: skip
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            async with serving_tools(toolbox, listener, Callers({token.sha256: "agent"})):
                record = directory / "tools.jsonl"
                yield Offered(url, token.text, workspace, record, cluster, toolbox)
        audit.close()


@pytest.mark.anyio
async def test_the_three_tools_are_announced_as_what_they_are(tmp_path: Path) -> None:
    """An agent is told of three tools, two of which only read."""
    async with offered(tmp_path) as tools, tools.session() as session:
        listed = (await session.list_tools()).tools

    assert [tool.name for tool in listed] == ["kubectl_read", "read_context", "write_report"]
    reading = [tool.annotations.read_only_hint for tool in listed[:2] if tool.annotations]
    assert reading == [True, True]


@pytest.mark.anyio
async def test_an_agent_reads_the_cluster_without_a_shell(tmp_path: Path) -> None:
    """A command line is run by kubectl, and filter, head, tail and jsonpath do a shell's work."""
    async with offered(tmp_path) as tools:
        pods, refused = await tools.call("kubectl_read", command="kubectl get pods -n shop -o name")
        assert not refused
        assert "pod/busy" in pods
        found, _ = await tools.call(
            "kubectl_read", command="get pods -A -o json", filter='"name"|nothing', head=2
        )
        assert "lines fit the filter" in found
        assert "the first 2 of" in found
        last, _ = await tools.call("kubectl_read", command="api-resources", tail=1)
        assert "the last 1 of" in last
        phase, _ = await tools.call(
            "kubectl_read", command="get pod busy -n shop", jsonpath="{.status.phase}"
        )
        assert phase.startswith("Running\n[stderr]\nWarning: kubecase: 1 value")
        no, _ = await tools.call("kubectl_read", command="get pod absent -n shop")
        assert "not found" in no
        assert "[exit code 1]" in no
        masked, _ = await tools.call("kubectl_read", command="get pod busy -n shop -o yaml")
        assert "correct-horse-battery" not in masked
        assert "[redacted]" in masked
        assert not tools.cluster.reached


@pytest.mark.anyio
async def test_what_is_not_reading_is_refused_in_words(tmp_path: Path) -> None:
    """Writes, Secrets, shells and odd arguments are refused by a sentence; nothing is asked."""
    async with offered(tmp_path) as tools:
        before = len(tools.cluster.requests)
        for command, says in {
            "kubectl delete pod busy": "this access only reads",
            "kubectl get secrets": "Secrets are not readable",
            "kubectl get pods | grep x": "There is no shell",
            "kubectl get pods --token=abc": "The flag --token is not allowed",
        }.items():
            text, refused = await tools.call("kubectl_read", command=command)
            assert refused, command
            assert says in text
        odd: tuple[dict[str, Any], ...] = (
            {}, {"command": 7}, {"command": "get pods", "head": -1}, {"command": "x" * 5000},
            {"command": "get pods", "filter": ["x"]},
        )  # fmt: skip
        for arguments in odd:
            _, refused = await tools.call("kubectl_read", **arguments)
            assert refused, arguments
        _, refused = await tools.call("kubectl_write", command="get pods")
        assert refused
        assert len(tools.cluster.requests) == before


@pytest.mark.anyio
async def test_a_jsonpath_is_one_word_whatever_it_holds(tmp_path: Path) -> None:
    """Quotes and flags in the argument jsonpath stay in it: nothing gets out into the command."""
    async with offered(tmp_path) as tools:
        path = "{.x}' --token=abc '"
        text, _ = await tools.call("kubectl_read", command="get pods -n shop", jsonpath=path)
        assert "--token=" in text  # printed by kubectl as a part of the template


@pytest.mark.anyio
async def test_the_context_is_read_and_nothing_else(tmp_path: Path) -> None:
    """Files of context/ are listed and read; no name leads out, also by a link."""
    async with offered(tmp_path) as tools:
        names, _ = await tools.call("read_context")
        assert names.split("\n") == ["findings.json", "logs.txt"]
        text, _ = await tools.call("read_context", name="context/findings.json")
        assert text == '{"summary": "known"}'
        link = tools.workspace.root / "context/link"
        link.symlink_to("/etc/hostname")
        for name in (
            "../PROMPT.md",
            "/etc/passwd",
            "context/../../x",
            "link",
            ".",
            "a\0b",
            "absent",
        ):
            text, refused = await tools.call("read_context", name=name)
            assert refused, name
            assert "root:" not in text


@pytest.mark.anyio
async def test_the_pages_of_skills_are_read_like_the_context(tmp_path: Path) -> None:
    """An agent without a way to read files has its skills by `read_context` (req 4.2)."""
    async with offered(tmp_path) as tools:
        skill = "---\nname: s\ndescription: d\n---\nLook first.\n"
        tools.workspace.write(
            {
                ".claude/skills/s/SKILL.md": skill.encode(),
                ".claude/skills/s/references/a.md": b"a page",
                ".claude/skills.json": b"[]",
            }
        )
        (tools.workspace.root / ".claude/skills/s/link.md").symlink_to("/etc/passwd")
        (tools.workspace.root / ".claude/settings.json").write_text("{}")

        names, _ = await tools.call("read_context")
        page, _ = await tools.call("read_context", name="skills/s/references/a.md")
        main, _ = await tools.call("read_context", name=".claude/skills/s/SKILL.md")
        listed = names.split("\n")
        assert listed[2:] == ["skills/s/SKILL.md", "skills/s/references/a.md"]
        assert (page, main) == ("a page", skill)
        for name in (
            "skills/s/link.md", "skills/../settings.json", "skills/s/../../settings.json",
            "skills/", "skills//etc/passwd", "skills/s", ".claude/settings.json", "skills/s/.x",
            "skills/s/absent.md", "skills/" + "x" * 190 + "/y",
        ):  # fmt: skip
            text, refused = await tools.call("read_context", name=name)
            assert refused, name
            assert "root:" not in text


@pytest.mark.anyio
async def test_a_report_is_left_and_checked(tmp_path: Path) -> None:
    """The report lies where it is taken from at once; a machine form that does not fit is asked for
    once more, with how it has to look, and the one that fits is taken.
    """
    machine = {"summary": "A table is missing.", "hypotheses": []}
    async with offered(tmp_path) as tools:
        output = tools.workspace.root / "output"
        text, refused = await tools.call("write_report", markdown="too short")
        assert refused
        assert "at least 100 bytes" in text
        text, refused = await tools.call(
            "write_report", markdown=REPORT, report_json='{"summary": 1}'
        )
        assert not refused
        assert "summary is not a text" in text
        assert "Call write_report once more" in text
        assert (output / "investigation.md").read_text() == REPORT
        assert not (output / "report.json").exists()
        text, refused = await tools.call(
            "write_report", markdown=REPORT, report_json=json.dumps(machine)
        )
        assert not refused
        assert "once more" not in text
        assert json.loads((output / "report.json").read_text()) == machine


@pytest.mark.anyio
@pytest.mark.parametrize("form", [None, "", "{", "[" * 5000, "[]"])
async def test_a_machine_form_is_asked_for_once_and_no_more(
    tmp_path: Path, form: str | None
) -> None:
    """Without one, or with one that cannot be read, the agent is asked once; after that its prose
    has to do.
    """
    arguments = {"markdown": REPORT} if form is None else {"markdown": REPORT, "report_json": form}
    async with offered(tmp_path) as tools:
        first, _ = await tools.call("write_report", **arguments)
        second, refused = await tools.call("write_report", **arguments)

    assert "Call write_report once more" in first
    assert not refused
    assert "are read from prose" in second


@pytest.mark.anyio
async def test_without_a_cluster_the_tool_says_where_the_facts_are(tmp_path: Path) -> None:
    """Where no cluster is connected the agent is told so, and reads the context."""
    async with offered(tmp_path, with_cluster=False) as tools:
        text, refused = await tools.call("kubectl_read", command="get pods")
        assert refused
        assert "no cluster is connected" in text
        assert (await tools.call("read_context"))[0]


@pytest.mark.anyio
async def test_only_the_agent_of_the_run_is_answered(tmp_path: Path) -> None:
    """Without the token of the run there is no answer, and no other path or method is served."""
    async with offered(tmp_path) as tools, httpx2.AsyncClient() as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        right = {"Authorization": f"Bearer {tools.token}"}
        assert (await http.post(tools.url, json=body)).status_code == 401
        wrong = {"Authorization": "Bearer x"}
        assert (await http.post(tools.url, json=body, headers=wrong)).status_code == 401
        elsewhere = tools.url.replace("/mcp", "/other")
        assert (await http.post(elsewhere, json=body, headers=right)).status_code == 404
        assert (await http.get(tools.url, headers=right)).status_code == 405
        assert not list(read_lines(tools.record))


@pytest.mark.anyio
async def test_what_is_no_http_is_nobodys_news(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Garbage from an agent is answered or cut off, and nothing of it is written to our streams."""
    async with offered(tmp_path) as tools:
        port = int(tools.url.split(":")[2].split("/")[0])
        for garbage in (b"\x16\x03\x01hello\r\n\r\n", b"GARBAGE-OF-AN-AGENT\r\n\r\n"):
            stream = await anyio.connect_tcp("127.0.0.1", port)
            async with stream:
                await stream.send(garbage)
                async for _ in stream:
                    pass
        assert (await tools.call("read_context"))[0]

    out, err = capfd.readouterr()
    assert "GARBAGE" not in out + err


@pytest.mark.anyio
async def test_every_call_is_on_record(tmp_path: Path) -> None:
    """Each call stands on a record that holds, refused ones too, with the digest of its answer."""
    async with offered(tmp_path) as tools:
        await tools.call("kubectl_read", command="get pods -n shop")
        await tools.call("kubectl_read", command="get secrets --token=hunter2hunter2")
        await tools.call("write_report", markdown=REPORT)
        tools.toolbox.most_calls = 3
        text, refused = await tools.call("read_context")
        assert refused
        assert "used up" in text

    lines = list(read_lines(tmp_path / "tools.jsonl"))
    assert [line["decision"] for line in lines] == ["allowed", "refused", "allowed", "refused"]
    assert "hunter2hunter2" not in (tmp_path / "tools.jsonl").read_text()
    assert REPORT not in (tmp_path / "tools.jsonl").read_text()
    kept = {path.name for path in (tmp_path / "answers").iterdir()}
    assert {line["answer"] for line in lines} <= kept
    assert verify(tmp_path / "tools.jsonl").holds


@pytest.mark.anyio
async def test_many_calls_at_once_are_all_answered(tmp_path: Path) -> None:
    """An agent that calls several tools in one turn gets each answer."""
    async with offered(tmp_path) as tools:
        found: list[str] = []

        async def ask() -> None:
            found.append((await tools.call("kubectl_read", command="get pods -n shop"))[0])

        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(ask)

    assert len(found) == 6
    assert all("busy" in text for text in found)
