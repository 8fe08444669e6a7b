"""The agent `openai_chat`: a model without a CLI investigates, and what goes wrong on the way."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from fakes.chat_server import Answer, ChatServer, Json, calls, refusal, says
from kubecase.gateways import audit
from kubecase.gateways.scripted_model import Act, Fault, ScriptedModel
from kubecase.runtime.bubblewrap import BubblewrapLayer

from .conftest import Home

KEY = "sk-real-key-of-the-model-0123456789"
REPORT = "# Kubernetes Incident Triage Report\n\n" + "The api exits since a table is missing. " * 4
MACHINE = json.dumps(
    {
        "summary": "The api exits since a table is missing.",
        "hypotheses": [
            {
                "category": "app.crash",
                "root_cause": "A table is missing.",
                "culprit": None,
                "confidence": 0.8,
                "evidence": [],
                "next_steps": [],
            }
        ],
    }
)
WRITES = Act("write_report", {"markdown": REPORT, "report_json": MACHINE})
READS = Act("read_context", {"name": "incident.json"})


def settings(url: str, **more: str) -> dict[str, str]:
    """A model at `url` that needs no key, and one failed call ends the run."""
    return {
        "AGENT_RUNTIME_ISOLATION": "process",
        "AGENT_RUNTIME_MODEL_FAILURES": "1",
        "AGENT_RUNTIME_RETRIES": "0",
        "KUBECASE_AGENTS__OPENAI_CHAT__MODEL": "qwen3:8b",
        "KUBECASE_AGENTS__OPENAI_CHAT__UPSTREAM": "local",
        "KUBECASE_MODELS__LOCAL__PROTOCOL": "openai",
        "KUBECASE_MODELS__LOCAL__BASE_URL": url,
        "KUBECASE_MODELS__LOCAL__AUTH": "none",
        **more,
    }


def asked(home: Home, model: ChatServer | ScriptedModel, **more: str) -> dict[str, Any]:
    """The result of an investigation by it."""
    words = (str(home.fault()), "--agent", "openai_chat")
    _, result = home.result(*words, env=settings(model.url, **more))
    return result


def events(result: dict[str, Any]) -> list[Json]:
    """What its program told."""
    log = Path(result["workspace_dir"]) / "output/agent.log"
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def lines_of(home: Home, result: dict[str, Any], kind: str) -> list[Json]:
    record = home.data / "audit" / f"{result['incident_id']}-1.jsonl"
    assert audit.verify(record).holds
    return [line for line in audit.read_lines(record) if line["kind"] == kind]


@pytest.mark.parametrize("isolation", ["process", "bwrap"])
def test_a_model_without_a_cli_investigates(home: Home, isolation: str) -> None:
    """A model behind chat completions reads the case and leaves a report by our tools."""
    if isolation == "bwrap" and not BubblewrapLayer().probe().works:
        pytest.skip("bubblewrap does not work here")
    with ScriptedModel([READS, WRITES, "The report is written."]) as model:
        result = asked(home, model, AGENT_RUNTIME_ISOLATION=isolation)

    assert (result["status"], result["reason"]) == ("success", None), result
    machine = json.loads(Path(result["reports"]["json"]).read_text())
    assert machine["run"]["model"] == "qwen3:8b"
    assert machine["run"]["isolation"] == isolation
    assert [each.tools for each in model.asked] == [
        ("k8s_kubectl_read", "k8s_read_context", "k8s_write_report")
    ] * 3
    assert [line["tool"] for line in lines_of(home, result, "tool")] == [
        "read_context", "write_report",
    ]  # fmt: skip
    assert [line["decision"] for line in lines_of(home, result, "model")] == ["allowed"] * 3
    assert (result["usage"]["turns"], result["usage"]["input_tokens"]) == (3, 3000)


def test_a_server_without_streams_is_asked_for_whole_answers(home: Home) -> None:
    """Who refuses a stream, or answers with a document anyway, is understood."""
    with ChatServer([refusal(400, "stream is not supported"), calls(
        ("k8s_write_report", json.dumps({"markdown": REPORT, "report_json": MACHINE}))
    ), says("Done.")]) as server:  # fmt: skip
        result = asked(home, server)

    assert result["status"] == "success", result
    assert [each["stream"] for each in server.asked] == [True, False, False]


def test_malformed_calls_are_told_and_get_another_chance(home: Home) -> None:
    """Arguments that are no JSON, unknown tools and calls as text are answered in words."""
    written = json.dumps({"name": "kubectl_read", "arguments": {"command": "get pods"}})
    with ChatServer([
        calls(("k8s_read_context", '{"name": "inci'), ("shell", '{"command": "id"}')),
        calls(("read_context", {"name": "incident.json"}), ("k8s_read_context", "[1]")),
        says(f"```json\n{written}\n```"),
        says("Hm."),
        says(REPORT),
    ]) as server:  # fmt: skip
        result = asked(home, server)

    assert result["status"] == "success", result
    assert REPORT.split("\n")[2][:40] in Path(result["reports"]["md"]).read_text()
    first, second, third, fourth = server.texts("tool")
    assert "not JSON" in first
    assert "no tool 'shell'" in second
    assert "api-0" in third
    assert "no JSON object" in fourth
    last = server.asked[-1]["messages"]
    for message in last:
        for call in message.get("tool_calls", ()):
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
    ids = [m["tool_call_id"] for m in last if m["role"] == "tool"]
    assert len(set(ids)) == 4
    told = server.texts("user")[1:]
    assert ["as text" in each for each in told] == [True, False]
    assert "no report yet" in told[1]


def test_a_model_without_tools_is_given_the_case_and_reports(home: Home) -> None:
    """Where the server takes no tools, the files of the case are in the question."""
    with ChatServer([
        refusal(400, "registry.ollama.ai/library/gemma:2b does not support tools"), says(REPORT),
    ]) as server:  # fmt: skip
        result = asked(home, server)

    assert result["status"] == "success", result
    assert ["tools" in each for each in server.asked] == [True, False]
    assert "context/incident.json" in server.texts("user")[1]
    assert "api-0" in server.texts("user")[1]
    assert REPORT.strip()[-40:] in Path(result["reports"]["md"]).read_text()


def test_a_model_that_calls_nothing_is_shown_the_case_once(home: Home) -> None:
    """An answer that looked at nothing is not taken before the files were shown."""
    with ChatServer([says(""), says(REPORT)]) as server:
        result = asked(home, server)

    assert result["status"] == "success", result
    assert ["--- " in each and "api-0" in each for each in server.texts("user")] == [False, True]


def test_no_report_is_no_success(home: Home) -> None:
    """A model that says too little, however often it is asked, has left no report."""
    with ChatServer([says("I do not know.")]) as server:
        result = asked(home, server)

    assert (result["status"], result["reason"]) == ("failed", "no_report"), result
    assert len(server.asked) == 5


def test_endless_calls_end_at_the_limit_of_turns(home: Home) -> None:
    """Turns that are used up are a used-up budget, after a last request to report (req 21.2)."""
    with ScriptedModel([READS]) as model:
        result = asked(home, model, KUBECASE_AGENTS__OPENAI_CHAT__MAX_TURNS="4")

    assert (result["status"], result["reason"]) == ("failed", "budget"), result
    assert len(model.asked) == 4
    assert "Your turns are used up" in model.asked[-1].body
    assert "Your turns are used up" not in model.asked[-2].body
    assert result["usage"]["turns"] == 4


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(401, "auth"), (429, "quota"), (500, "exit_code"), (404, "exit_code")],
)
def test_a_refusal_is_named(home: Home, trouble: int, reason: str) -> None:
    """A refused key is `auth`, a rate limit `quota`, a broken server says that it was one."""
    with ScriptedModel([trouble]) as model:
        result = asked(home, model)

    assert (result["status"], result["reason"]) == ("failed", reason), result
    assert events(result)[0]["event"] == "started"


def test_a_cut_answer_is_asked_for_again(home: Home) -> None:
    """A stream that ends in the middle is no answer; the next one is taken."""
    with ScriptedModel([Fault.CUT, WRITES, "Done."]) as model:
        result = asked(home, model, AGENT_RUNTIME_MODEL_FAILURES="3")

    assert result["status"] == "success", result
    assert [each["event"] for each in events(result)][:3] == ["started", "retry", "usage"]


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/html"])
def test_garbage_is_no_answer(home: Home, kind: str) -> None:
    """A server that answers with something else fails the run, and nothing hangs."""
    with ChatServer([Answer(body=b"data: <html>\xff" * 50 + b"\n\n", kind=kind)]) as server:
        result = asked(home, server, AGENT_RUNTIME_MODEL_FAILURES="0")

    assert (result["status"], result["reason"]) == ("failed", "exit_code"), result
    assert len(server.asked) == 3
    assert events(result)[-1]["event"] == "failed"


def test_a_short_memory_is_respected(home: Home) -> None:
    """Where the server says that the context is too long, the oldest answers are left out."""

    def short(value: Json) -> Answer:
        if len(json.dumps(value["messages"])) > 45_000:
            return refusal(400, "this model's maximum context length is 8192 tokens")
        reads = sum(m["role"] == "tool" for m in value["messages"])
        return says(REPORT) if reads > 5 else calls(("k8s_read_context", {"name": "incident.json"}))

    fault = str(home.fault(message="table missing " * 800))
    with ChatServer([short]) as server:
        _, result = home.result(fault, "--agent", "openai_chat", env=settings(server.url))

    assert result["status"] == "success", result
    answers = server.texts("tool")
    assert "left out" in answers[0]
    assert "table missing" in answers[-1]


def test_a_cancel_leaves_nothing_running(home: Home) -> None:
    """A cancelled run is `cancelled`, and its program is gone."""
    with ScriptedModel([Fault.STALL]) as model:
        words = ("investigate", str(home.fault()), "--agent", "openai_chat", "--json")
        process = home.start(*words, env=settings(model.url))
        deadline = time.monotonic() + 30
        while not model.asked:
            assert time.monotonic() < deadline, "the model was never asked"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)

    assert process.returncode == 130, stderr.decode()
    assert json.loads(stdout)["status"] == "cancelled"
    assert home.processes_below() == []


def test_who_takes_over_serves_on(home: Home) -> None:
    """After a kill of kubecase the program asks its successor, and the report arrives."""
    with ScriptedModel([READS, Fault.STALL, WRITES, "Done."]) as model:
        env = settings(model.url, AGENT_RUNTIME_WHEN_SUPERVISOR_DIES="survive")
        words = ("investigate", str(home.fault()), "--agent", "openai_chat")
        process = home.start(*words, env=env)
        deadline = time.monotonic() + 30
        while len(model.asked) < 2:
            assert time.monotonic() < deadline, "the model was not asked"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = home.run("recover", "--json", env=env)

    (recovered,) = json.loads(done.stdout)
    assert recovered["result"]["status"] == "success", recovered
    assert len(model.asked) == 4


def test_a_report_that_was_left_is_the_report(home: Home) -> None:
    """Closing words, however long, do not take the place of what `write_report` was given."""
    with ScriptedModel([WRITES, "I have looked into all of it and left a report. " * 10]) as model:
        result = asked(home, model)

    assert result["status"] == "success", result
    left = Path(result["workspace_dir"]) / "output/investigation.md"
    assert left.read_text() == REPORT


def test_what_a_model_thinks_is_no_report(home: Home) -> None:
    """Thoughts that a server leaves in an answer are neither a report nor part of one."""
    with ChatServer([
        says("<think>" + "Let me see. " * 20 + "</think>"), says(f"<think>Hm.</think>\n{REPORT}"),
    ]) as server:  # fmt: skip
        result = asked(home, server)

    assert result["status"] == "success", result
    text = Path(result["reports"]["md"]).read_text()
    assert "since a table is missing" in text
    assert "Hm." not in text


def test_the_real_key_stays_with_kubecase(home: Home) -> None:
    """The server is given the real key, and the program one of its run."""
    with ScriptedModel([WRITES, "Done."], key=KEY) as model:
        result = asked(
            home, model, KUBECASE_MODELS__LOCAL__AUTH="bearer", SCRIPTED_KEY=KEY,
            KUBECASE_MODELS__LOCAL__KEY_ENV="SCRIPTED_KEY",
        )  # fmt: skip

    assert result["status"] == "success", result
    workspace = Path(result["workspace_dir"])
    assert not any(KEY.encode() in p.read_bytes() for p in workspace.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [("MODEL", "agents.openai_chat.model"), ("UPSTREAM", "agents.openai_chat.upstream")],
)
def test_what_is_missing_is_named(home: Home, missing: str, remedy: str) -> None:
    """Without a model, or a server for it, the remedy is told and nothing is asked."""
    env = settings("http://127.0.0.1:9")
    del env[f"KUBECASE_AGENTS__OPENAI_CHAT__{missing}"]

    done = home.run("investigate", str(home.fault()), "--agent", "openai_chat", env=env)

    assert done.returncode == 2
    assert remedy in done.stderr.decode()


def test_auto_takes_it_where_its_server_is_named(home: Home) -> None:
    """Without any CLI, `auto` asks the model whose server the settings name, and else nobody."""
    env = settings("http://127.0.0.1:9", PATH="/usr/bin:/bin")
    named = json.loads(home.run("doctor", "--json", env=env).stdout)
    del env["KUBECASE_AGENTS__OPENAI_CHAT__UPSTREAM"]
    unnamed = json.loads(home.run("doctor", "--json", env=env).stdout)

    assert "openai_chat would be asked" in str(named)
    assert "builtin would be asked" in str(unnamed)
