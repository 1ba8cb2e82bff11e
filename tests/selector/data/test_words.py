"""Tests of words in scripts with and without spaces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selector.data.words import about_tokens, words_of


def test_letters_of_scripts_without_spaces_count_each() -> None:
    """Guards Chinese, Japanese and Thai texts: each was one word, so that all were refused as too short."""
    assert words_of("a tall, old tree") == ["a", "tall,", "old", "tree"]
    assert words_of("\u6d4b\u8bd5 ok") == ["\u6d4b", "\u8bd5", "ok"]
    assert len(words_of("\u0e44\u0e17\u0e22")) == 3


def test_tokens_are_rather_overestimated() -> None:
    """Guards the room for answers that `init` proposes: five Chinese letters counted as one token."""
    assert about_tokens("seventeen 1,024") == 2 + 5
    assert about_tokens("\u6d4b\u8bd5") == 4
    assert about_tokens("\u043c\u0438\u0440") == 3


@given(st.text())
def test_no_letter_is_lost(text: str) -> None:
    """Guards the pattern: words hold every sign that is not white space, in order."""
    assert "".join(words_of(text)) == "".join(text.split())
