"""Tests of the four splits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import normalised_text
from selector.data.splits import Splits, SplitSizes, split
from selector.errors import EmptyPoolError, TooFewExamplesError
from selector.types import Example

words = st.sampled_from(["Good film", "good, film!", "bad film", "a plot", "A PLOT", "x", "y", "z", "!", "?"])


def rows(texts: list[str], prefix: str) -> list[Example]:
    return [Example(f"{prefix}-{number}", {"t": text}, "a") for number, text in enumerate(texts)]


def parts(splits: Splits) -> list[list[Example]]:
    return [list(splits.pool), list(splits.reward), list(splits.dev), list(splits.test)]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(words, min_size=6, max_size=40),
    st.none() | st.lists(words, min_size=1, max_size=6),
    st.none() | st.lists(words, min_size=1, max_size=6),
    st.integers(0, 5),
)
def test_no_text_and_no_uid_stands_in_two_splits(
    train: list[str], test: list[str] | None, dev: list[str] | None, seed: int
) -> None:
    """Guards the law: exact and normalised duplicates never cross splits, wherever test and dev come from."""
    arguments = (
        rows(train, "train"),
        rows(test, "test") if test is not None else None,
        rows(dev, "dev") if dev is not None else None,
    )
    sizes = SplitSizes(reward=1, dev=1, test=1)
    try:
        splits = split(*arguments, sizes=sizes, seed=seed)
    except (TooFewExamplesError, EmptyPoolError):
        return
    texts = [{normalised_text(example.fields) for example in part} for part in parts(splits)]
    uids = [{example.uid for example in part} for part in parts(splits)]
    for number in range(4):
        for other in range(number):
            assert not texts[number] & texts[other]
            assert not uids[number] & uids[other]
    again = split(*arguments, sizes=sizes, seed=seed)
    assert parts(again) == parts(splits)


def test_leaks_are_counted() -> None:
    """Guards the report: what was left out must be said."""
    train = rows(["a b", "A, B!", "c", "d", "e"], "train")
    test = rows(["a b", "a  b"], "test")
    splits = split(train, test, [], sizes=SplitSizes(reward=1, dev=0), seed=0)
    assert splits.leaks.test_duplicates == 1
    assert splits.leaks.train == 2
    assert len(splits.pool) + len(splits.reward) == 3


@pytest.mark.parametrize("seed", range(5))
def test_copies_passed_over_in_draws_are_counted(seed: int) -> None:
    """Guards the count where dev and reward rows are drawn: copies met meanwhile were thrown away in silence."""
    train = rows(["a", "b", "c", "d", "e", "f", "g", "h"] * 3, "train")
    splits = split(train, None, None, sizes=SplitSizes(test=2, dev=2, reward=2), seed=seed)
    leaks = splits.leaks
    left_out = leaks.test_duplicates + leaks.dev + leaks.train + leaks.reward
    kept = sum(map(len, (splits.pool, splits.reward, splits.dev, splits.test)))
    assert left_out == len(train) - kept > 0


def test_sizes_are_kept_and_default_to_a_fifth() -> None:
    """Guards explicit sizes, and small files under the defaults."""
    train = rows([f"text {number}" for number in range(50)], "train")
    splits = split(train, None, None, sizes=SplitSizes(pool=7, reward=3, dev=4, test=5), seed=1)
    assert [len(part) for part in parts(splits)] == [7, 3, 4, 5]
    default = split(train, None, None, sizes=SplitSizes(), seed=1)
    assert [len(part) for part in parts(default)] == [20, 10, 10, 10]


def test_another_seed_gives_another_pool() -> None:
    """Guards against a seed that is ignored."""
    train = rows([f"text {number}" for number in range(50)], "train")
    pools = {
        tuple(one.uid for one in split(train, None, None, sizes=SplitSizes(pool=9), seed=s).pool) for s in range(4)
    }
    assert len(pools) == 4


def test_given_dev_rows_are_mixed() -> None:
    """Guards rewards from a dev file that is sorted by label: three quarters of it would be of one label."""
    train, dev = rows([f"text {number}" for number in range(50)], "train"), rows([f"dev {n}" for n in range(40)], "dev")
    own = [split(train, None, dev, sizes=SplitSizes(dev=size), seed=3).dev for size in (None, 20)]
    assert [one.uid for one in own[0]] != [one.uid for one in dev]
    assert {one.uid for one in own[0]} == {one.uid for one in dev}
    assert own[1] == own[0][:20]


def test_too_few_rows_are_named() -> None:
    """Guards against an empty pool or a short dev set that nobody notices."""
    train = rows(["a", "b", "c"], "train")
    with pytest.raises(TooFewExamplesError) as caught:
        split(train, None, None, sizes=SplitSizes(reward=1, dev=9, test=1), seed=0)
    assert (caught.value.wanted, caught.value.available) == (9, 2)
    with pytest.raises(EmptyPoolError):
        split(train, None, None, sizes=SplitSizes(reward=1, dev=1, test=1), seed=0)
