"""The tools of kubecase, called by MCP for the model, which is told whatever goes wrong."""

import json
from dataclasses import dataclass
from itertools import count
from typing import Any

from .wire import Answered, Broken, Json, Server, document, events, pause, whole

PREFIX = "k8s_"
VERSION = "2025-06-18"
TRIES = 5
HEAD, TAIL = 14_000, 6_000
"""How many characters of a tool's answer the model is given, from its beginning and its end."""

_numbers = count(1)


class ToolsFailed(Exception):
    """The tools are not there, or do not answer."""


@dataclass
class Tools:
    """The tool server. `offered` are its tools as a model is told of them."""

    server: Server
    offered: list[Json]
    wrote_report: bool = False

    @classmethod
    def found(cls, server: Server) -> "Tools":
        """What the server offers. Raises ToolsFailed."""
        client = {"name": "kubecase-openai-chat", "version": "1"}
        given = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": client}
        _request(server, "initialize", given)
        listed = _request(server, "tools/list", {}).get("tools")
        offered = [
            {
                "type": "function",
                "function": {
                    "name": PREFIX + each["name"],
                    "description": str(each.get("description") or ""),
                    "parameters": each.get("inputSchema") or {"type": "object"},
                },
            }
            for each in (listed if isinstance(listed, list) else [])
            if isinstance(each, dict) and isinstance(each.get("name"), str)
        ]
        if not offered:
            raise ToolsFailed("the tool server offers no tools")
        return cls(server, offered)

    @property
    def names(self) -> list[str]:
        """What the tools are called, as a model is told."""
        return [str(each["function"]["name"]) for each in self.offered]

    def call(self, name: str, arguments: str) -> tuple[str, bool]:
        """What a model is told of its call, and whether nothing was done. Raises ToolsFailed."""
        # Models forget the prefix, since prompts speak of the tools without it.
        full = name if name in self.names else PREFIX + name
        if full not in self.names:
            known = ", ".join(self.names)
            return f"There is no tool {name[:100]!r}; nothing was done. There are: {known}.", True
        try:
            value = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            says = f"The arguments are not JSON ({str(error)[:100]}); nothing was done."
            return f"{says} Call {full} again, with one JSON object.", True
        if not isinstance(value, dict):
            return f"The arguments are no JSON object; nothing was done. Call {full} again.", True
        return self.used(full.removeprefix(PREFIX), value)

    def used(self, tool: str, arguments: Json) -> tuple[str, bool]:
        """The answer of the tool called `tool` by its server. Raises ToolsFailed."""
        asked = {"name": tool, "arguments": arguments}
        try:
            result = _request(self.server, "tools/call", asked)
        except Answered as answered:
            return f"The call was refused ({answered}); nothing was done.", True
        content = result.get("content")
        parts = [each for each in content if isinstance(each, dict)] if content else []
        text = "\n".join(str(each.get("text") or "") for each in parts)
        failed = result.get("isError") is True
        self.wrote_report = self.wrote_report or (tool == "write_report" and not failed)
        return shortened(text, HEAD, TAIL), failed


def shortened(text: str, head: int, tail: int) -> str:
    """`text`, without its middle where it is longer than both together."""
    if len(text) <= head + tail:
        return text
    gone = len(text) - head - tail
    return f"{text[:head]}\n[... {gone} characters left out: ask for less ...]\n{text[-tail:]}"


def _request(server: Server, method: str, parameters: Json) -> Json:
    """The result of one request. Raises ToolsFailed, and Answered for a call that is refused.

    Tried again where nobody answers: while kubecase is started anew, its listener stays.
    """
    for tried in range(1, TRIES + 1):
        try:
            return _result(server, method, parameters)
        except Broken as broken:
            if tried == TRIES:
                raise ToolsFailed(f"the tool server does not answer: {broken}") from broken
            pause(min(8.0, 0.5 * 2.0 ** (tried - 1)))
        except Answered as answered:
            if method == "tools/call" and answered.status in (400, 413):
                raise
            raise ToolsFailed(f"the tool server refuses {method}: {answered}") from answered
    raise ToolsFailed("the tool server was never asked")


def _result(server: Server, method: str, parameters: Json) -> Json:
    asked = {"jsonrpc": "2.0", "id": next(_numbers), "method": method, "params": parameters}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSION,
    }
    with server.posted("", asked, headers) as answer:
        if answer.headers.get_content_type() == "text/event-stream":
            value = next((each for each in map(document, events(answer)) if "id" in each), {})
        else:
            value = whole(answer)
    error: Any = value.get("error")
    if error:
        says = error.get("message") if isinstance(error, dict) else error
        raise Answered(400, str(says)[:300])
    result = value.get("result")
    if not isinstance(result, dict):
        raise Broken("the tool server's answer holds no result")
    return result
