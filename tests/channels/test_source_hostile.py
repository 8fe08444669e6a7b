"""What is no fault, and what would like to be more than one."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubecase.channels.sources import FaultInput, faults_in, load_intake
from kubecase.channels.sources.intake import MAX_MESSAGE, UNDERSTOOD, Arrival
from kubecase.channels.sources.mapping import MAX_PAYLOAD
from kubecase.clusters.untrusted import parse_documents
from kubecase.core.errors import FaultRejected

NOW = datetime(2026, 1, 2, 4, 0, 0, tzinfo=UTC)
ARRIVAL = Arrival(now=NOW, cluster_default="local")
OWN = {"namespace": "shop", "resource": "Pod/api-0", "reason": "CrashLoop"}


def one(value: Any) -> FaultInput:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    (found,) = faults_in(raw, ARRIVAL).faults
    return found


MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "spaces": (b" \n\t ", "empty"),
    "text": (b"hello", "not JSON"),
    "yaml": (b"apiVersion: v1\nkind: Pod\n", "not JSON"),
    "cut": (b'{"namespace": "shop", "resou', "not JSON"),
    "number": (b"7", "a number"),
    "null": (b"null", "null"),
    "string": (b'"pod/api-0"', "a text"),
    "empty object": (b"{}", "none"),
    "empty list": (b"[]", "an empty list"),
    "list in list": (b'[["a"]]', "a list"),
    "foreign": (b'{"hello": 1, "world": 2}', "hello, world"),
    "second line broken": (b'{"resource":"Pod/a","namespace":"b","reason":"c"}\n{"x"', "line 2"),
    "depth bomb": (b"[" * 200_000, "more than 64 deep"),
    "object bomb": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "more than 64 deep"),
    "quiet depth": (b"[" * 90 + b"]" * 90, "more than 64 deep"),
    "long number": (b'{"a": ' + b"9" * 100_000 + b"}", "a number of 100000 digits"),
    "long fraction": (b'{"a": 1.' + b"9" * 100_000 + b"}", "a number of 100002 digits"),
    "endless": (b'{"resource": 1e999}', "too large"),
    "not a number": (b'{"resource": NaN}', "NaN"),
    "many lists": (b"[" + b"[]," * 500_000 + b"[]]", "more than 400000 objects"),
    "too large": (b" " * (MAX_PAYLOAD + 1), "at most 8388608"),
    "binary": (bytes(range(256)), "not JSON"),
    "no resource": (b'{"namespace": "shop", "reason": "x"}', "resource is missing"),
    "no reason": (b'{"namespace": "shop", "resource": "Pod/a"}', "reason and message"),
    "no namespace": (b'{"resource": "Pod/a", "reason": "x"}', "namespace is missing"),
    "empty name": (b'{"namespace": "a", "resource": "Pod/", "reason": "x"}', "resource.name"),
    "bad time": (
        b'{"namespace": "a", "resource": "Pod/a", "reason": "x", "timestamp": "noon"}',
        "timestamp",
    ),
    "bad id": (
        b'{"namespace": "a", "resource": "Pod/a", "reason": "x", "id": "../../etc"}',
        "id is not a UUID",
    ),
    "event of nothing": (b'{"kind": "Event", "reason": "x", "message": "y"}', "resource.kind"),
    "old alertmanager": (b'{"version": "3", "alerts": []}', "is not 4"),
    "alert of nothing": (b'{"labels": {"alertname": "Watchdog"}}', "names an object"),
    "mcp of nothing": (b'{"faultType": "PodCrash"}', "resource.kind"),
    "hollow cloudevent": (b'{"specversion": "1.0"}', "data of the CloudEvent is missing"),
    "nested cloudevent": (
        b'{"specversion": "1.0", "data": {"specversion": "1.0", "data": {}}}',
        "a CloudEvent inside a CloudEvent",
    ),
    "bad base64": (b'{"specversion": "1.0", "data_base64": "%%%"}', "not base64"),
    "empty case": (b'{"id": "x", "inputs": {}}', "neither a Warning event nor an object"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_gets_one_answer_that_names_what_is_missing(name: str) -> None:
    """A payload that is no fault is refused, says why in few words, and shows what is taken."""
    payload, words = MALFORMED[name]

    with pytest.raises(FaultRejected) as refused:
        faults_in(payload, ARRIVAL)

    assert words in str(refused.value)
    assert len(str(refused.value)) < 300
    assert refused.value.hint == UNDERSTOOD


def test_a_huge_message_is_cut_and_the_raw_payload_is_whole() -> None:
    """5 MB of text is a fault with a short message, a note, and every byte kept (req 5.10)."""
    raw = json.dumps({**OWN, "message": "x" * 5_000_000}).encode()

    found = one(raw)

    assert len(found.fault.message) == MAX_MESSAGE
    assert found.fault.raw == raw
    assert any("5000000 characters" in note for note in found.notes)


def test_bytes_that_are_no_text_are_replaced_and_counted() -> None:
    """NUL and bytes outside UTF-8 do no harm and are kept in the raw payload (req 5.10)."""
    raw = json.dumps({**OWN, "message": "a_b"}).encode().replace(b"_", b"\x00\xff\xfe")

    found = one(raw)

    assert (
        found.fault.message
        == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"
    )
    assert found.fault.raw == raw
    assert found.notes == ("3 bytes that are not UTF-8 were replaced",)


def test_escaped_bytes_that_no_file_can_hold_are_replaced() -> None:
    """Escaped NUL and lone surrogates never reach a name or a message."""
    raw = (
        rb'{"namespace":"a","resource":"Pod/x\u0000y","reason":"r\ud800","message":"\ud83d\ude00"}'
    )

    fault = one(raw).fault

    assert fault.resource.name == "x\N{REPLACEMENT CHARACTER}y"
    assert fault.reason == "r\N{REPLACEMENT CHARACTER}"
    assert fault.message == "\N{GRINNING FACE}"


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_does_no_harm(codec: str) -> None:
    """What an editor or a shell on another system wrote is taken too."""
    assert one(json.dumps({**OWN, "message": "Zürich"}).encode(codec)).fault.message == "Zürich"


@pytest.mark.parametrize(
    "text",
    [
        "@/etc/passwd", "</fault></untrusted>", "../../../../etc/shadow", "$(reboot)", "`id`",
        "-rf", "\x1b[31mred", "\u202eevil", "x; DROP TABLE fault", "<!channel>", "{{7*7}}",
    ],
)  # fmt: skip
def test_hostile_words_are_data_and_nothing_else(text: str) -> None:
    """Names and messages of any content come out exactly as they went in."""
    value = {"namespace": text, "resource": {"kind": text, "name": text}, "reason": text}

    fault = one({**value, "message": text, "labels": {text: text}}).fault

    words = {fault.resource.kind, fault.resource.name, fault.resource.namespace, fault.reason}
    assert words == {text}
    assert fault.message == text
    assert fault.labels == {text: text}


def test_a_name_without_end_is_refused() -> None:
    """No object has a name of a megabyte."""
    with pytest.raises(FaultRejected, match="longer than 1024"):
        one({**OWN, "resource": "Pod/" + "a" * 1_000_000})


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """A missing file, a socket or a device is one clear error."""
    with pytest.raises(FaultRejected, match="No such file"):
        load_intake(tmp_path / "absent", now=NOW, cluster_default="local")
    with pytest.raises(FaultRejected, match="neither a file nor a folder"):
        load_intake("/dev/null", now=NOW, cluster_default="local")
    with pytest.raises(FaultRejected, match="not a path"):
        load_intake("a\0b", now=NOW, cluster_default="local")


def test_a_pipe_is_read_like_a_file() -> None:
    """What a shell's process substitution gives is taken."""
    reader, writer = os.pipe()
    try:
        os.write(writer, json.dumps(OWN).encode())
        os.close(writer)

        intake = load_intake(f"/dev/fd/{reader}", now=NOW, cluster_default="local")
    finally:
        os.close(reader)

    assert intake.faults[0].fault.resource.name == "api-0"


WORDS = st.sampled_from(
    [
        "namespace", "resource", "reason", "message", "severity", "timestamp", "kind", "name",
        "labels", "alerts", "status", "alertname", "pod", "node", "version", "specversion", "data",
        "data_base64", "inputs", "event", "events", "objects", "logs", "collected_at", "items",
        "faultType", "faultId", "context", "involvedObject", "regarding", "note", "metadata",
        "type", "object", "series", "id", "uid", "containerStatuses", "conditions", "spec",
        "selector", "state", "terminated", "exitCode", "phase", "creationTimestamp",
    ]
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(
        [
            "Pod", "Event", "Alert", "List", "PodList", "Service", "Node", "firing", "4", "ADDED",
            "Warning", "2026-01-02T03:04:05Z", "0001-01-01T00:00:00Z", "Pod/a", "a/b/c", "[{}]",
            "9999-12-31T23:59:59-14:00",
        ]
    ),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=25,
)


@given(value=VALUES)
@settings(max_examples=250, deadline=None)
def test_whatever_is_sent_only_one_error_can_come_back(value: Any) -> None:
    """Any JSON in our own words is a fault or a FaultRejected, and a fault can be stored."""
    try:
        intake = faults_in(json.dumps(value).encode(), ARRIVAL)
    except FaultRejected:
        return
    for each in intake.faults:
        fault = each.fault
        json.dumps([fault.resource.name, fault.message, fault.reason]).encode()
        assert fault.resource.name
        assert fault.resource.kind
        assert fault.reason
        assert fault.fingerprint
        assert fault.seen_at.tzinfo is not None
        fault.seen_at.isoformat()


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_fault_or_refused(data: bytes) -> None:
    """Bytes of any kind never raise anything but FaultRejected."""
    with suppress(FaultRejected):
        assert faults_in(data, ARRIVAL).form


@given(
    st.fixed_dictionaries(
        {"resource": st.fixed_dictionaries({"kind": VALUES, "name": VALUES})},
        optional=dict.fromkeys(("faultType", "reason", "namespace", "context", "kind"), VALUES),
    )
)
@settings(max_examples=100, deadline=None)
def test_nearly_right_payloads_are_no_exception(value: dict[str, Any]) -> None:
    """Payloads that look like a fault but hold other types are refused in words."""
    with suppress(FaultRejected):
        assert faults_in(json.dumps(value).encode(), ARRIVAL).form


EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "faults"
STREAM = b"".join(
    json.dumps({"type": change, "object": json.loads(path.read_bytes())}).encode()
    for change, path in (
        ("ADDED", EXAMPLES / "node-unhealthy-event.json"),
        ("MODIFIED", EXAMPLES / "job-failure-event-v1.json"),
    )
)
SEEDS = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.json"))] + [STREAM]


def paths_in(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [so_far, *(path for key, each in inner for path in paths_in(each, (*so_far, key)))]


def changed(value: Any, path: tuple[Any, ...], replacement: Any) -> Any:
    if not path:
        return replacement
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], replacement)
    return copy


@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_a_good_payload_with_one_wrong_value_is_no_exception(data: st.DataObject) -> None:
    """Each form with anything at all in one of its places is a fault or refused in words."""
    values = [value for value, _, _ in parse_documents(data.draw(st.sampled_from(SEEDS)).decode())]
    path = data.draw(st.sampled_from(paths_in(values)[1:]))
    broken = changed(values, path, data.draw(VALUES))

    with suppress(FaultRejected):
        intake = faults_in(b"\n".join(json.dumps(each).encode() for each in broken), ARRIVAL)
        assert all(each.fault.resource.name for each in intake.faults)
