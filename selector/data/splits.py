"""The four splits of a task and the law that they share nothing.

Pool, reward, dev and test share no example: neither the same uid nor the same normalised text. What is taken out is
counted and reported. This module knows nothing of files or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        dev: Dev rows that repeat a test row or an earlier dev row.
        train: Training rows that repeat a test or dev row.
        reward: Training rows with the text of a reward row, kept out of the pool.
    """

    test_duplicates: int = 0
    dev: int = 0
    train: int = 0
    reward: int = 0


@dataclass(frozen=True)
class Splits:
    """Four splits that share nothing; see `split`."""

    pool: Pool
    reward: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    leaks: LeakReport


def split(
    train: Sequence[Example],
    test: Sequence[Example] | None,
    dev: Sequence[Example] | None,
    *,
    sizes: SplitSizes,
    seed: int,
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

    Returns:
        The splits; the same arguments give the same splits.

    Raises:
        TooFewExamplesError: When the training rows do not suffice for reward, dev and at least one pool example.
    """
    rng = np.random.default_rng(seed)
    rows = [train[position] for position in rng.permutation(len(train))]
    taken: set[str] = set()
    uids: set[str] = set()
    if test is None:
        count = sizes.test if sizes.test is not None else len(rows) // 5
        tests, test_repeats, rows = _drawn(rows, count, taken, uids, what="test examples")
    else:
        tests, test_repeats = _fresh(test, taken, uids)
        tests = _some(tests, sizes.test, rng)
        taken = {normalised_text(example.fields) for example in test}
        uids = {example.uid for example in test}
    dev_repeats = 0
    if dev is None:
        devs, _, rows = _drawn(rows, _default(sizes.dev, train), taken, uids, what="dev examples")
    else:
        devs, dev_repeats = _fresh(dev, taken, uids)
        devs = _some(devs, sizes.dev, rng)
    before = len(rows)
    rows = [row for row in rows if normalised_text(row.fields) not in taken and row.uid not in uids]
    leaked = before - len(rows)
    rewards, _, rows = _drawn(rows, _default(sizes.reward, train), taken, uids, what="reward examples")
    before = len(rows)
    rows = [row for row in rows if normalised_text(row.fields) not in taken and row.uid not in uids]
    pool = Pool(rows[: sizes.pool])
    return Splits(
        pool,
        tuple(rewards),
        tuple(devs),
        tuple(tests),
        LeakReport(test_duplicates=test_repeats, dev=dev_repeats, train=leaked, reward=before - len(rows)),
    )


def _default(size: int | None, train: Sequence[Example]) -> int:
    return min(200, len(train) // 5) if size is None else size


def _fresh(rows: Sequence[Example], taken: set[str], uids: set[str]) -> tuple[list[Example], int]:
    """Rows whose text and uid are new, which they then are no longer; and how many were not."""
    fresh = []
    for row in rows:
        text = normalised_text(row.fields)
        if text not in taken and row.uid not in uids:
            fresh.append(row)
            taken.add(text)
            uids.add(row.uid)
    return fresh, len(rows) - len(fresh)


def _drawn(
    rows: Sequence[Example], count: int, taken: set[str], uids: set[str], *, what: str
) -> tuple[list[Example], int, list[Example]]:
    """The first `count` rows that are new, how many were passed over, and the rows behind them."""
    drawn: list[Example] = []
    left_over: list[Example] = []
    repeats = 0
    for row in rows:
        if len(drawn) == count:
            left_over.append(row)
            continue
        fresh, repeated = _fresh([row], taken, uids)
        drawn += fresh
        repeats += repeated
    if len(drawn) < count:
        raise TooFewExamplesError(available=len(drawn), wanted=count, what=what)
    return drawn, repeats, left_over


def _some(rows: list[Example], count: int | None, rng: np.random.Generator) -> list[Example]:
    if count is None or count >= len(rows):
        return rows
    return [rows[position] for position in np.sort(rng.choice(len(rows), count, replace=False))]
