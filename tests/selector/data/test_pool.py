"""Tests of the pool."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool, normalised_text
from selector.errors import EmptyPoolError, InvalidExampleError
from selector.types import Example


def example(uid: str, text: str = "x", label: str | None = "a") -> Example:
    return Example(uid, {"text": text}, label)


def test_duplicates_are_found_by_uid_and_by_folded_text() -> None:
    """Guards leave-one-out: a changed case, punctuation or spacing must not let the query's twin through."""
    pool = Pool([example("1", "A fine, fine film!"), example("2", "a  fine fine FILM"), example("3", "a dull film")])
    assert pool.duplicates_of(example("q", "A fine fine film")) == {0, 1}
    assert pool.duplicates_of(example("3", "something else")) == {2}
    assert pool.duplicates_of(example("q", "unseen")) == frozenset()


def test_texts_without_words_stay_different() -> None:
    """Guards against every emoji or punctuation row counting as a duplicate of the others."""
    assert normalised_text({"text": "!"}) != normalised_text({"text": "?"})
    assert normalised_text({"a": "x", "b": "y"}) != normalised_text({"a": "xy", "b": ""})


def test_marks_belong_to_their_letters() -> None:
    """Guards Hindi and Thai, whose vowels are marks: other words counted as duplicates; an emoji's do not matter."""
    for one, other in (("मिल", "मेल"), ("ที่", "ทู่")):
        assert normalised_text({"t": one}) != normalised_text({"t": other})
        assert normalised_text({"t": f"{one}!"}) == normalised_text({"t": one})
    assert normalised_text({"t": "love \u2764\ufe0f it"}) == normalised_text({"t": "Love it"})


@settings(max_examples=50)
@given(st.text(), st.text())
def test_folding_ignores_case_and_outer_punctuation(first: str, second: str) -> None:
    """Guards the law that normalisation is idempotent on case and deterministic on equal texts."""
    assert normalised_text({"t": first}) == normalised_text({"t": first})
    if normalised_text({"t": first}) != normalised_text({"t": second}):
        assert first != second


def test_a_pool_refuses_what_cannot_be_a_demonstration() -> None:
    """Guards empty pools, unlabelled members and repeated uids, each by its own error."""
    with pytest.raises(EmptyPoolError):
        Pool([])
    with pytest.raises(InvalidExampleError, match="no label"):
        Pool([example("1", label=None)])
    with pytest.raises(InvalidExampleError, match="occurs twice"):
        Pool([example("1"), example("1", "y")])


def test_the_fingerprint_follows_content_and_order() -> None:
    """Guards artifacts against a pool whose positions mean other rows."""
    first, second = example("1"), example("2", "y")
    assert Pool([first, second]).fingerprint == Pool([first, second]).fingerprint
    assert Pool([first, second]).fingerprint != Pool([second, first]).fingerprint
    assert Pool([first]).fingerprint != Pool([example("1", label="b")]).fingerprint
    # The canonical JSON is part of the artifact format: this value must not change between versions.
    assert Pool([first]).fingerprint == "3274a809a3a718ff2855c1e99674d547c31d4397c571f1e946c3e90e6b4fea79"


def test_a_pool_is_a_sequence_with_sorted_labels() -> None:
    """Guards iteration, slicing and the order of labels."""
    pool = Pool([example("1", label="b"), example("2", "y", "a"), example("3", "z", "b")])
    assert [member.uid for member in pool] == ["1", "2", "3"]
    assert [member.uid for member in pool[1:]] == ["2", "3"]
    assert pool.labels == ("a", "b")
    assert [member.uid for member in pool.subset([2, 0])] == ["3", "1"]


def test_a_pool_made_from_another_is_as_one_made_anew() -> None:
    """Guards edits of large pools: folded texts are taken over for the very same members alone."""
    first = Pool([Example("a", {"text": "One"}, "x"), Example("b", {"text": "Two"}, "x")])
    members = [Example("a", {"text": "Three"}, "x"), first[1], Example("c", {"text": "one!"}, "y")]
    made, anew = Pool(members, former=first), Pool(members)
    assert made.fingerprint == anew.fingerprint
    for text in ("one", "two", "three", "four"):
        asked = Example("query", {"text": text})
        assert made.duplicates_of(asked) == anew.duplicates_of(asked)
    assert made.subset([2, 1]).duplicates_of(Example("query", {"text": "ONE"})) == {0}
