"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubecase.app.settings import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600), ("90s", 90), ("1h30m", 5400), ("90", 90), (" 5m ", 300), ("1.5h", 5400),
        ("2d", 172800), ("250ms", 0.25), ("1h0m30s", 3630), ("0", 0), (7, 7), (2.5, 2.5), ("+3", 3),
        (1e-7, 0.0),
    ],
)  # fmt: skip
def test_durations_are_read_as_written(text: str | float, seconds: float) -> None:
    """Units, combinations of them and plain seconds are understood (req 2.3)."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "", "m", "10 m", "10x", "30m1h", "5m5m", "1h 30m", "-5m", "-1", "1e3", "inf", "nan", "٣m",
        "10m;", "1_000", "99999999999999999999h", "1" * 400, float("nan"), float("inf"), True,
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused_in_words(text: str | float) -> None:
    """Anything else, negative and endless ones included, is refused with words for people."""
    with pytest.raises(ValueError, match=r"duration|units once"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 * 1024**2), ("1GiB", 1024**3), ("500MB", 500_000_000), ("1024", 1024),
        ("1.5 KiB", 1536), ("64Mi", 64 * 1024**2), ("10kb", 10_000), ("7B", 7), (12, 12), ("0", 0),
    ],
)  # fmt: skip
def test_sizes_are_read_as_written(text: str | int, size: int) -> None:
    """Binary and decimal units and plain bytes are understood."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "5 parsecs", "1MiB1", "1e9", "9999999TiB", "9" * 300, "٣", False]
)
def test_what_is_no_size_is_refused_in_words(text: str | int) -> None:
    """Anything else, negative and absurd ones included, is refused with words for people."""
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=366 * 86400 * 1000))
def test_a_duration_that_is_shown_can_be_given_back(milliseconds: int) -> None:
    """What `config show` prints for a duration means the same when it is written into a file."""
    seconds = milliseconds / 1000

    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@given(st.integers(min_value=0, max_value=2**50))
def test_a_size_that_is_shown_can_be_given_back(size: int) -> None:
    """What `config show` prints for a size means exactly the same in a file."""
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=30))
def test_no_text_breaks_the_parsers(text: str) -> None:
    """Every text is a value or refused with a ValueError, nothing else."""
    for parse in (parse_duration, parse_size):
        try:
            value = parse(text)
        except ValueError as error:
            value = len(str(error))
        assert value >= 0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(600, "10m"), (259200, "72h"), (5400, "1h30m"), (0.5, "500ms"), (0, "0s")],
)
def test_durations_are_shown_as_people_write_them(seconds: float, shown: str) -> None:
    """Ten minutes are `10m` and three days `72h`."""
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [(67108864, "64MiB"), (500_000_000, "500MB"), (1000001, "1000001B"), (0, "0B")],
)
def test_sizes_are_shown_as_people_write_them(size: int, shown: str) -> None:
    """64 MiB are `64MiB`, and what is no round number stays exact."""
    assert format_size(size) == shown
