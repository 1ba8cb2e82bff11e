"""The four splits of a task and the law that they share nothing.

Pool, reward, dev and test share no example: neither the same uid nor the same normalised text, nor, where that is
wanted, nearly the same one. What is taken out is counted and reported. This module knows nothing of files or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.data.near_duplicates import NearDuplicates
from selector.data.pool import Pool, normalised_text
from selector.errors import TooFewExamplesError
from selector.types import Example


@dataclass(frozen=True)
class SplitSizes:
    """How many examples each split gets at most.

    Attributes:
        pool: Candidates for demonstrations; None is all that is left.
        reward: Queries on which policies are rewarded; None is 200 or a fifth of the training rows.
        dev: Queries on which checkpoints and sets are chosen; None is 200 or a fifth of the training rows.
        test: Queries on which methods are compared; None is all there are.
    """

    pool: int | None = None
    reward: int | None = None
    dev: int | None = None
    test: int | None = None


@dataclass(frozen=True)
class LeakReport:
    """How many rows were left out because another split holds the same text.

    Attributes:
        test_duplicates: Test rows that repeat an earlier test row.
        dev: Dev rows that repeat a test row or an earlier dev row, also those passed over in the draw.
        train: Training rows that repeat a test or dev row.
        reward: Training rows with the text of a reward row, kept out of the pool or passed over in the draw.
        near_duplicates: How many rows were left out, these and those passed over when a split was drawn, for a text
            that is not the same but nearly so.
    """

    test_duplicates: int = 0
    dev: int = 0
    train: int = 0
    reward: int = 0
    near_duplicates: int = 0


@dataclass(frozen=True)
class Splits:
    """Four splits that share nothing; see `split`.

    Attributes:
        reserve: Training rows that could stand in the pool as well; `sizes.pool` left no room for them.
    """

    pool: Pool
    reward: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    leaks: LeakReport
    reserve: tuple[Example, ...] = ()


def split(
    train: Sequence[Example],
    test: Sequence[Example] | None,
    dev: Sequence[Example] | None,
    *,
    sizes: SplitSizes,
    seed: int,
    near_duplicates: float | None = None,
) -> Splits:
    """Divides examples so that no text stands in two splits.

    Test rows stand first, then dev rows; what repeats them is left out of the training rows. Where test or dev rows
    are not given, they are drawn from the training rows. The pool keeps duplicates of its own; leave-one-out hides
    them from each other.

    Args:
        train: Labelled training rows.
        test: Test rows, or None to draw `sizes.test` of the training rows (a fifth when that is None).
        dev: Dev rows, or None to draw `sizes.dev` of the training rows.
        sizes: How many rows each split gets.
        seed: Seeds every draw.
        near_duplicates: The similarity from which a text repeats another one, 0.5 to 1; None compares normalised texts.

    Returns:
        The splits; the same arguments give the same splits.

    Raises:
        TooFewExamplesError: When the training rows do not suffice for reward, dev and at least one pool example.
        UsageError: When `near_duplicates` is another number.
        ExtraMissingError: When near duplicates are wanted and datasketch is not installed.
    """
    rng = np.random.default_rng(seed)
    rows = [train[position] for position in rng.permutation(len(train))]
    taken = _Taken(near_duplicates)
    if test is None:
        count = sizes.test if sizes.test is not None else len(rows) // 5
        tests, test_repeats, rows = _drawn(rows, count, taken, what="test examples")
    else:
        tests, test_repeats = _fresh(test, taken)
        tests = _some(tests, sizes.test, rng)
        for row in test:  # what was left out of the test rows may not stand elsewhere either
            taken.add(row)
    dev_repeats = 0
    if dev is None:
        devs, dev_repeats, rows = _drawn(rows, _default(sizes.dev, train), taken, what="dev examples")
    else:
        devs, dev_repeats = _fresh(dev, taken)
        # Files may be sorted by label, and a part of the dev rows may have to serve for rewards.
        devs = [devs[place] for place in rng.permutation(len(devs))][: sizes.dev]
    rows, leaked = _without(rows, taken)
    rewarded = _Taken(near_duplicates)
    rewards, passed_over, rows = _drawn(rows, _default(sizes.reward, train), rewarded, what="reward examples")
    rows, reward_repeats = _without(rows, rewarded)
    rewards_left_out, near = passed_over + reward_repeats, taken.near + rewarded.near
    leaks = LeakReport(test_repeats, dev_repeats, leaked, rewards_left_out, near_duplicates=near)
    pool = Pool(rows[: sizes.pool], near_duplicates=near_duplicates)
    return Splits(pool, tuple(rewards), tuple(devs), tuple(tests), leaks, reserve=tuple(rows[len(pool) :]))


def _default(size: int | None, train: Sequence[Example]) -> int:
    return min(200, len(train) // 5) if size is None else size


class _Taken:
    """What rows may not repeat: the uids and texts of those that have their place."""

    def __init__(self, near_duplicates: float | None) -> None:
        self._uids: set[str] = set()
        self._texts: set[str] = set()
        self._alike = None if near_duplicates is None else NearDuplicates(near_duplicates)
        self.near = 0  # rows refused for a text that is nearly the same, and for nothing else

    def add(self, row: Example) -> None:
        text = normalised_text(row.fields)
        self._uids.add(row.uid)
        if self._alike is not None and text not in self._texts:
            self._alike.add(text)
        self._texts.add(text)

    def refuses(self, row: Example) -> bool:
        text = normalised_text(row.fields)
        if text in self._texts or row.uid in self._uids:
            return True
        near = self._alike is not None and any(True for _ in self._alike.near(text))
        self.near += near
        return near


def _fresh(rows: Sequence[Example], taken: _Taken) -> tuple[list[Example], int]:
    """Rows that are not refused, which then are taken; and how many were."""
    fresh = []
    for row in rows:
        if not taken.refuses(row):
            fresh.append(row)
            taken.add(row)
    return fresh, len(rows) - len(fresh)


def _without(rows: Sequence[Example], taken: _Taken) -> tuple[list[Example], int]:
    """Rows that are not refused, and how many were."""
    left = [row for row in rows if not taken.refuses(row)]
    return left, len(rows) - len(left)


def _drawn(
    rows: Sequence[Example], count: int, taken: _Taken, *, what: str
) -> tuple[list[Example], int, list[Example]]:
    """The first `count` rows that are new, how many were passed over, and the rows behind them."""
    drawn: list[Example] = []
    left_over: list[Example] = []
    repeats = 0
    for row in rows:
        if len(drawn) == count:
            left_over.append(row)
            continue
        fresh, repeated = _fresh([row], taken)
        drawn += fresh
        repeats += repeated
    if len(drawn) < count:
        raise TooFewExamplesError(available=len(drawn), wanted=count, what=what)
    return drawn, repeats, left_over


def _some(rows: list[Example], count: int | None, rng: np.random.Generator) -> list[Example]:
    if count is None or count >= len(rows):
        return rows
    return [rows[position] for position in np.sort(rng.choice(len(rows), count, replace=False))]
