"""The scripted model itself, spoken to without any CLI."""

import http.client
import json
from typing import Any

import pytest

from fakes.model_server import HttpError, ModelServer, Text, ToolUse


def ask(server: ModelServer, body: dict[str, Any], **headers: str) -> tuple[int, str]:
    host = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("POST", "/v1/messages?beta=true", json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_a_script_is_played_turn_by_turn_and_the_last_one_repeats() -> None:
    """Each request gets the next turn; the last one is given for ever."""
    body = {"model": "m", "messages": []}
    with ModelServer([HttpError(529), Text("one"), Text("two")]) as server:
        answers = [ask(server, body) for _ in range(4)]

    assert [status for status, _ in answers] == [529, 200, 200, 200]
    texts = [json.loads(text)["content"][0]["text"] for _, text in answers[1:]]
    assert texts == ["one", "two", "two"]
    assert json.loads(answers[0][1])["error"]["type"] == "overloaded_error"


def test_a_streamed_answer_is_a_sequence_of_events() -> None:
    """A streamed turn with text and tool call has the events of the Messages format in order."""
    turn = (Text("see"), ToolUse("Read", {"file_path": "x"}))
    with ModelServer([turn]) as server:
        _, text = ask(server, {"model": "m", "stream": True, "messages": []})

    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == [
        "message_start",
        *["content_block_start", "content_block_delta", "content_block_stop"] * 2,
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert json.loads(events[5]["delta"]["partial_json"]) == {"file_path": "x"}
    assert events[7]["delta"]["stop_reason"] == "tool_use"


def test_requests_are_kept_without_their_key() -> None:
    """What was asked can be read back: tools, system prompt, and that there was a key."""
    body = {"model": "m", "system": [{"type": "text", "text": "rule"}], "tools": [{"name": "Read"}]}
    with ModelServer([Text("x")]) as server:
        ask(server, body, **{"x-api-key": "sk-test-000"})
        ask(server, body)
        with pytest.raises(ValueError, match="at least one turn"):
            ModelServer([])
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/elsewhere")
        assert connection.getresponse().status == 404
        connection.close()

    assert [request.has_key for request in server.requests] == [True, False]
    assert server.requests[0].tools == ("Read",)
    assert server.requests[0].system == "rule"
    assert "sk-test-000" not in repr(server.requests) + server.requests[0].body
    assert server.others == [("GET", "/elsewhere")]
