"""A target of fuzzing as a value: a function that takes any bytes and fails only on a defect."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog


class Defect(AssertionError):
    """Something that must not happen, whatever the bytes; the text says what it was."""


def expect(is_so: object, what: str, *seen: object) -> None:
    """Raise Defect with what was seen unless it is so."""
    if not is_so:
        raise Defect(": ".join((what, *(ascii(each)[:600] for each in seen))))


@dataclass(frozen=True, slots=True)
class Target:
    """One border of the product.

    A ``run`` that returns has found nothing: the declared errors of the code under test are caught
    in it. Whatever else comes out of it is a defect.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes] = ()
    """Inputs to start with, besides those in the corpus."""

    words: Sequence[bytes] = ()
    """What a fuzzer would hardly find by itself."""

    longest: int = 1024
    """Bytes of an input at most."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what the product would log about so many mistakes."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        structlog.reset_defaults()
