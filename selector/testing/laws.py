"""How laws are checked: one after the other, each by its name.

A law is a function of what is under examination. It gives nothing where it holds, a reason where it could not be
checked, and raises `LawBrokenError` where it is broken. This module knows no particular law.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeAlias, TypeVar

from selector.types import Selection

Trial = TypeVar("Trial")
Law: TypeAlias = Callable[[Trial], str | None]


class _During(AbstractContextManager[None]):
    """Adds to any error which law was being checked; a selector that crashes says so itself, but not where."""

    def __init__(self, law: str) -> None:
        self._law = law

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"while the law {self._law!r} was checked")


def check_laws(laws: Sequence[Law[Trial]], trial: Trial) -> dict[str, str]:
    """Checks laws until one is broken.

    Args:
        laws: The laws.
        trial: What is under examination.

    Returns:
        Name to reason of every law that could not be checked.

    Raises:
        LawBrokenError: When one is broken.
    """
    passed_over = {}
    for law in laws:
        with _During(law.__name__):
            if reason := law(trial):
                passed_over[law.__name__] = reason
    return passed_over


def first_difference(one: Sequence[Selection], other: Sequence[Selection], *, tolerance: float) -> int | None:
    """Finds where two answers to the same queries part.

    Args:
        one: N selections.
        other: N selections.
        tolerance: By how much scores may differ; positions may not.

    Returns:
        The first place; None when there is none.
    """
    for place, (left, right) in enumerate(zip(one, other, strict=True)):
        alike = left.indices == right.indices and all(
            abs(mine - yours) <= tolerance for mine, yours in zip(left.scores, right.scores, strict=True)
        )
        if not alike:
            return place
    return None
