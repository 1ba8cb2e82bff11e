"""Tests of near duplicates: the search against its definition, the splits, leave-one-out, and what users are told."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.near_duplicates import MISSED, PERMUTATIONS, NearDuplicates, bands, shingles, similarity
from selector.data.pool import Pool, normalised_text
from selector.data.splits import LeakReport, Splits, SplitSizes, split
from selector.data.task import Task
from selector.errors import EmptyPoolError, ExtraMissingError, TaskFileError, TooFewExamplesError, UsageError
from selector.testing import planted_examples
from selector.types import Example

WORDS = ("who", "was", "the", "third", "president", "of", "france", "when", "a", "plot", "is", "dull", "warm", "cast")
sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
TOML = """
[data]
train = "train.jsonl"
test = "test.jsonl"
reward_size = 2
dev_size = 2
near_duplicates = 0.9
[fields]
inputs = ["text"]
label = "label"
[prompt]
template = "Review: {text}\\nSentiment:{label}"
"""


@st.composite
def families(draw: st.DrawFn) -> list[str]:
    """Sentences, and copies of them that lack, add or change a sign or a word."""
    texts = draw(st.lists(sentences, min_size=1, max_size=6))
    for _ in range(draw(st.integers(0, 12))):
        words = list(draw(st.sampled_from(texts)))
        at = draw(st.integers(0, len(words)))
        words[at : at + draw(st.integers(0, 1))] = draw(st.sampled_from(("", "x", " so")))
        texts.append("".join(words))
    return texts


def rows(texts: list[str], prefix: str) -> list[Example]:
    return [Example(f"{prefix}-{number}", {"t": text}, "a") for number, text in enumerate(texts)]


def long_text(number: int) -> str:
    """A text of which a changed word is a small part, unlike those of other numbers."""
    rng = np.random.default_rng(number)
    return " ".join("".join(rng.choice(list("abcdefghij"), 6)) for _ in range(30))


def test_similarity_by_hand() -> None:
    """Guards the definition: distinct pieces of five characters, field by field, the least similar one counts."""
    assert shingles("abcdefg") == (frozenset({"abcde", "bcdef", "cdefg"}),)
    assert shingles("abc") == (frozenset({"abc"}),)
    assert similarity("abcdefg", "abcdefgh") == 3 / 4
    assert similarity("abcdefg", "abcdefg") == 1
    assert similarity("abcdefg\x1fpassage", "abcdefgh\x1fpassage") == 3 / 4
    assert similarity("abcdefg\x1fsame passage", "uvwxyz\x1fsame passage") == 0
    assert similarity("abcdefg", "abcdefg\x1f") == 0


@settings(deadline=None, max_examples=100)
@given(families(), families(), st.sampled_from([0.5, 0.7, 0.9, 1.0]))
def test_what_is_found_is_what_the_definition_says(texts: list[str], asked: list[str], threshold: float) -> None:
    """Guards both sides of the search: nothing below the threshold is found, and nothing above it is missed."""
    index = NearDuplicates(threshold)
    for text in dict.fromkeys(texts):
        index.add(text)
    for text in [*texts, *asked]:
        assert list(index.near(text)) == sorted({one for one in texts if similarity(one, text) >= threshold})


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.75, 0.9, 0.99, 1.0])
def test_bands_miss_no_more_than_they_promise(threshold: float) -> None:
    """Guards against the defaults of LSH, which miss a tenth of the pairs at the threshold."""
    count, width = bands(threshold)
    assert count * width <= PERMUTATIONS
    assert (1 - threshold**width) ** count <= MISSED
    wider = width + 1
    assert wider > PERMUTATIONS // 2 or (1 - threshold**wider) ** (PERMUTATIONS // wider) > MISSED


def parts(splits: Splits) -> list[list[str]]:
    return [
        [normalised_text(one.fields) for one in part] for part in (splits.pool, splits.reward, splits.dev, splits.test)
    ]


@settings(deadline=None, max_examples=60)
@given(families(), st.none() | families(), st.none() | families(), st.integers(0, 3), st.sampled_from([0.6, 0.8]))
def test_no_pair_of_splits_holds_texts_that_are_nearly_the_same(
    train: list[str], test: list[str] | None, dev: list[str] | None, seed: int, threshold: float
) -> None:
    """Guards the law, wherever test and dev come from; and that pairs within test, dev and reward are kept out too."""
    given_parts = (
        rows(train, "train"),
        rows(test, "test") if test is not None else None,
        rows(dev, "dev") if dev is not None else None,
    )
    sizes = SplitSizes(reward=1, dev=1, test=1)
    try:
        splits = split(*given_parts, sizes=sizes, seed=seed, near_duplicates=threshold)
    except (TooFewExamplesError, EmptyPoolError):
        return
    pool, *queries = parts(splits)
    asked = [text for part in queries for text in part]
    for number, text in enumerate(asked):
        assert all(similarity(text, other) < threshold for other in (*asked[:number], *pool))
    for query in (*splits.reward, *splits.dev, *splits.test):
        assert not splits.pool.duplicates_of(query)


def test_planted_copies_are_left_out_and_counted() -> None:
    """Guards the count, and that a copy of a test row that was itself left out, or not drawn, is no training row."""
    base = [long_text(number) for number in range(12)]
    copies = [text.replace(text.split()[3], "other", 1) for text in base]
    test = rows([base[0], copies[0], base[1].upper(), base[2]], "test")
    train = rows([copies[0], copies[1], base[2], copies[2], *base[5:]], "train")
    sizes = SplitSizes(reward=1, dev=1, test=2)
    splits = split(train, test, None, sizes=sizes, seed=0, near_duplicates=0.7)
    assert splits.leaks == LeakReport(test_duplicates=1, train=4, near_duplicates=3)
    assert len(splits.pool) == len(base[5:]) - 2
    loose = split(train, test, None, sizes=sizes, seed=0)
    assert loose.leaks == LeakReport(train=2)
    assert len(loose.pool) == len(base[5:]) + 2 - 2
    assert loose.pool.near_duplicates is None


def test_rows_near_a_reward_row_are_kept_out_of_the_pool() -> None:
    """Guards the reward: a policy that is shown its query's copy learns to look for copies."""
    base = [long_text(number) for number in range(4)]
    train = rows([text.replace(text.split()[at], "other", 1) for text in base for at in (1, 5, 9)], "train")
    splits = split(train, [], [], sizes=SplitSizes(reward=1), seed=1, near_duplicates=0.6)
    assert splits.leaks == LeakReport(reward=2, near_duplicates=2)
    assert len(splits.pool) == 9


def test_a_pool_hides_near_copies_from_each_other() -> None:
    """Guards leave-one-out within the pool, and pools made from it; positions of equal texts all count."""
    text = long_text(0)
    near = text.replace(text.split()[3], "other", 1)
    members = rows([text, long_text(1), near, near.upper() + "!", long_text(2)], "p")
    pool = Pool(members, near_duplicates=0.7)
    assert pool.duplicates_of(members[0]) == {0, 2, 3}
    assert pool.duplicates_of(Example("p-4", {"t": near})) == {0, 2, 3, 4}
    assert pool.duplicates_of(Example("q", {"t": "unseen"})) == frozenset()
    assert Pool(members).duplicates_of(members[0]) == {0}
    assert pool.subset([4, 2, 0]).duplicates_of(members[3]) == {1, 2}
    assert pool.fingerprint == Pool(members).fingerprint  # the artifact format: contents, not what counts as equal


def test_what_is_remembered_is_bounded_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the memory of a service that is asked for ever, and its answers after forgetting."""
    monkeypatch.setattr("selector.data.pool.MOST_KNOWN", 2)
    members = rows([long_text(number) for number in range(5)], "p")
    pool = Pool(members, near_duplicates=0.8)
    for _ in range(2):
        assert [pool.duplicates_of(Example("q", one.fields)) for one in members] == [{at} for at in range(5)]
        assert len(pool._known_near) <= 2


@pytest.mark.parametrize("threshold", [0.0, 0.49, 1.01])
def test_a_threshold_out_of_range_is_named(threshold: float) -> None:
    """Guards against a pool in which all of one form are each other's copies."""
    with pytest.raises(UsageError, match=r"from 0\.5 to 1"):
        Pool(planted_examples(3), near_duplicates=threshold)
    with pytest.raises(UsageError, match=r"from 0\.5 to 1"):
        split(planted_examples(9), None, None, sizes=SplitSizes(), seed=0, near_duplicates=threshold)


def test_without_datasketch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards users without the extra against a traceback, and pools that do not ask for it against needing it."""
    monkeypatch.setitem(sys.modules, "datasketch", None)
    members = planted_examples(3)
    assert Pool(members).duplicates_of(members[1]) == {1}
    with pytest.raises(ExtraMissingError, match=r"shotsmith\[near-duplicates\]"):
        Pool(members, near_duplicates=0.9).duplicates_of(members[1])


def write(folder: Path, toml: str = TOML) -> Path:
    """A task whose first test row has a near copy among its 20 training rows."""
    texts = [long_text(number) for number in range(20)]
    copy = texts[7].replace(texts[7].split()[29], "x", 1)
    for name, own in (("train", texts), ("test", [copy, long_text(30)])):
        lines = [json.dumps({"text": text, "label": ("pos", "neg")[at % 2]}) for at, text in enumerate(own)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "task.toml").write_text(toml)
    return folder / "task.toml"


def test_a_task_file_turns_it_on(tmp_path: Path) -> None:
    """Guards the setting, its count, and fingerprints: results with and without it are not of one task."""
    task = Task.load(write(tmp_path))
    assert asdict(task.leaks) == {"test_duplicates": 0, "dev": 0, "train": 1, "reward": 0, "near_duplicates": 1}
    assert task.pool.near_duplicates == 0.9
    assert len(task.pool) == 20 - 1 - 4
    stricter = Task.load(write(tmp_path, TOML.replace("0.9", "0.85")))
    assert stricter.pool.fingerprint == task.pool.fingerprint
    assert stricter.fingerprint != task.fingerprint
    plain = Task.load(write(tmp_path, TOML.replace("near_duplicates = 0.9", "")))
    assert plain.leaks == LeakReport()
    assert len(plain.pool) == 16


@pytest.mark.parametrize("value", ["0.3", "2", "true", '"0.9"'])
def test_a_wrong_setting_is_named(tmp_path: Path, value: str) -> None:
    """Guards against a setting that is taken for another one."""
    with pytest.raises(TaskFileError, match=r"near_duplicates.*a number from 0\.5 to 1"):
        Task.load(write(tmp_path, TOML.replace("0.9", value)))
