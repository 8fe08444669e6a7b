"""What one line of the stream-json output of Claude Code tells, in the vocabulary of all agents.

Format as printed by version 2.1.330: one event for each content block, unknown ones ignored.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kubecase.agents.claude_verdict import usage_of, words_of
from kubecase.agents.lines import parsed, printable, shown, text_at, undecoded
from kubecase.core.ports import AgentEvent, Moment


def events_of(line: bytes) -> tuple[AgentEvent, ...]:
    """What one line of the stream tells; nothing for events that are not known."""
    if not line.strip():
        return ()
    event = parsed(line)
    if event is None:
        return (AgentEvent(moment=Moment.GARBAGE, text=undecoded(line)),)
    match event.get("type"):
        case "system":
            return _system_events(event)
        case "assistant" | "user":
            return tuple(_message_events(event))
        case "result":
            return _result_events(event)
        case _:
            return ()


def _system_events(event: Mapping[str, Any]) -> tuple[AgentEvent, ...]:
    match event.get("subtype"):
        case "init":
            version, model = text_at(event, "claude_code_version"), text_at(event, "model")
            text = printable(f"claude {version} with the model {model}")
            return (AgentEvent(moment=Moment.STARTED, text=text),)
        case "permission_denied":
            return (
                AgentEvent(
                    moment=Moment.DENIED,
                    text=shown(event.get("message")),
                    tool=_tool(event.get("tool_name")),
                ),
            )
        case "api_retry":
            tried, most = shown(event.get("attempt"), 20), shown(event.get("max_retries"), 20)
            why = f"{shown(event.get('error_status'), 20)} {shown(event.get('error'), 200)}"
            text = f"retry {tried} of {most}: {why.strip()}"
            return (AgentEvent(moment=Moment.RETRY, text=text),)
        case _:
            return ()


def _message_events(event: Mapping[str, Any]) -> Iterator[AgentEvent]:
    for block in _blocks(event):
        match block.get("type"):
            case "text":
                text = shown(block.get("text"))
                yield AgentEvent(moment=Moment.MESSAGE, text=text)
            case "tool_use":
                text = shown(block.get("input"))
                tool = _tool(block.get("name"))
                yield AgentEvent(moment=Moment.TOOL_CALL, text=text, tool=tool)
            case "tool_result":
                text = _result_text(block.get("content"))
                yield AgentEvent(moment=Moment.TOOL_RESULT, text=text)


def _blocks(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    message = event.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    elif isinstance(content, list):
        yield from (block for block in content if isinstance(block, Mapping))


def _result_text(content: Any) -> str:
    if isinstance(content, list) and all(isinstance(block, Mapping) for block in content):
        return printable("\n".join(shown(b.get("text")) for b in content[:100]))
    return shown(content)


def _result_events(event: Mapping[str, Any]) -> tuple[AgentEvent, ...]:
    usage = usage_of(event)
    text = f"{usage.turns} turns, {usage.input_tokens} tokens in, {usage.output_tokens} out"
    if usage.cost_usd is not None:
        text += f", {usage.cost_usd:.4f} USD"
    return (
        AgentEvent(moment=Moment.USAGE, text=text),
        AgentEvent(moment=Moment.FINISHED, text=words_of(event, 2000)),
    )


def _tool(name: Any) -> str | None:
    return printable(name, 200) if isinstance(name, str) else None
