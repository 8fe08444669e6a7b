"""Errors that task groups wrap, as what they are."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unwrapped() -> Iterator[None]:
    """Let the error that an exception group holds leave this block as itself.

    Of several the first that is no cancellation goes on; the group with all of them is its cause.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        plain = [each for each in error.exceptions if isinstance(each, Exception)]
        error = plain[0] if plain else error.exceptions[0]
    return error
