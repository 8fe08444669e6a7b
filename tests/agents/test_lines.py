"""Reading what an agent printed, when it is too deep or too strange to be shown."""

from kubecase.agents.lines import MAX_LINE_BYTES, parsed, shown


def test_what_cannot_be_shown_is_said_to_be_so() -> None:
    """A value nested without measure, or of a foreign type, is replaced by a word."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    assert shown(deep) == "(cannot be shown)"
    assert shown(object()) == "(cannot be shown)"
    assert shown(None) == ""
    assert shown({"ü": [1, True]}) == '{"ü":[1,true]}'


def test_only_an_object_on_a_line_of_bearable_length_is_read() -> None:
    """Lists, numbers and lines over 8 MiB are not taken for events."""
    small = b'{"a": "' + b"x" * 1000 + b'"}'

    assert parsed(small) == {"a": "x" * 1000}
    assert parsed(small + b" " * MAX_LINE_BYTES) is None
    assert parsed(b"[1]") is None
    assert parsed(b"7") is None
