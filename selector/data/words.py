"""Words of a text, in scripts that write no space between them too. Pure functions; no tokenizer is asked."""

from __future__ import annotations

import re
from typing import Final

# Thai to Khmer, kana, Han.
_UNSPACED: Final = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
IDEOGRAPHIC_ENDS: Final = "\u3002\uff01\uff1f"
"""Full stop, exclamation mark and question mark of Chinese and Japanese, which no space follows."""

_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
# Byte-level tokenizers of mostly English text take about two tokens for such a letter, and one for other foreign ones.
_PIECE: Final = re.compile(rf"(?P<double>[{_UNSPACED}])|[a-zA-Z]{{1,5}}|[^\W\d_]|\d|_|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Splits a text at white space; each letter of a script that has none between words counts as one.

    Args:
        text: Any text.

    Returns:
        Its words, punctuation included.
    """
    return _WORD.findall(text)


def about_tokens(text: str) -> int:
    """Estimates how many tokens a text has: digits and signs are one each, Latin letters some five.

    Args:
        text: Any text.

    Returns:
        A number, of the right size.
    """
    return sum(2 if match["double"] else 1 for match in _PIECE.finditer(text))
