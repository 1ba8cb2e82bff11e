"""Plain text to labelled rows of tasks: next sentence, masked words, last phrase (written, judged), classification.

After Chen et al. (2022), "Improving In-Context Few-Shot Learning via Self-Supervised Training". A row is an ordinary
labelled example, so that training frames it with demonstrations of its own task as it does any other. The split into
sentences is by punctuation. This module knows nothing of prompts, models or files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

import numpy as np

from selector.data.words import IDEOGRAPHIC_ENDS, words_of
from selector.errors import TooFewExamplesError
from selector.types import Example

MASKS: Final = ("___", "<<>>", "@@@", "(())")
"""The four marks of Chen et al.; a row uses one of them."""
MOST_MASKED: Final = 20
FEWEST_WORDS: Final = 4  # of a sentence
# Words after the last of which a "last phrase" begins.
FUNCTION_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        "a about after an and are as at be because been before but by can could for from had has have if in into is it "
        "its may more most no not of on or over should than that the their them then there these they this to under "
        "was were when where which while who will with would",
    )
)
ORIGINAL, SHUFFLED, MIXED = "Original", "Shuffled", "Mixed"
T = TypeVar("T")
Sentences: TypeAlias = Sequence[str]
Maker: TypeAlias = Callable[[Sequence[Sentences], np.random.Generator], tuple[str, str] | None]
"""Documents and a generator to an input and its answer, or None where the drawn place does not serve."""


def sentences_of(document: str) -> list[str]:
    """Cuts a text behind full stops, exclamation and question marks, and between lines.

    Args:
        document: Plain text.

    Returns:
        Its sentences of at least `FEWEST_WORDS` words, with runs of white space made one space.
    """
    parts = re.split(rf"(?<=[.!?])\s+|(?<=[{IDEOGRAPHIC_ENDS}])|\n+", document)
    folded = (" ".join(part.split()) for part in parts)
    return [sentence for sentence in folded if len(words_of(sentence)) >= FEWEST_WORDS]


def next_sentence(documents: Sequence[Sentences], generator: np.random.Generator) -> tuple[str, str] | None:
    """Asks for the sentence behind one to three others.

    Args:
        documents: Sentences of each.
        generator: Draws.

    Returns:
        Input and answer.
    """
    document = _drawn(documents, generator)
    at = int(generator.integers(1, len(document)))
    return " ".join(document[max(0, at - int(generator.integers(1, 4))) : at]), document[at]


def masked_word(documents: Sequence[Sentences], generator: np.random.Generator) -> tuple[str, str] | None:
    """Asks for the words of a sentence that were replaced by a mark: 1 to 20, and at most a third of them.

    Args:
        documents: Sentences of each.
        generator: Draws.

    Returns:
        Input and answer, the words in order; None for a sentence that has no spaces between words.
    """
    words = _drawn(_drawn(documents, generator), generator).split()
    if len(words) < FEWEST_WORDS:
        return None
    count = int(generator.integers(1, max(2, min(MOST_MASKED, len(words) // 3) + 1)))
    hidden = np.sort(generator.choice(len(words), count, replace=False))
    answer = " ".join(words[place] for place in hidden)
    mark = _drawn(MASKS, generator)
    return " ".join(mark if place in set(hidden.tolist()) else word for place, word in enumerate(words)), answer


def last_phrase(documents: Sequence[Sentences], generator: np.random.Generator) -> tuple[str, str] | None:
    """Asks for what stands behind the last function word of a sentence, given the sentence before it.

    Args:
        documents: Sentences of each.
        generator: Draws.

    Returns:
        Input and answer; None where a sentence ends with a function word or has none.
    """
    document = _drawn(documents, generator)
    at = int(generator.integers(1, len(document)))
    parted = _phrase(document[at])
    return None if parted is None else (f"{document[at - 1]} {parted[0]}", parted[1])


def last_phrase_choice(documents: Sequence[Sentences], generator: np.random.Generator) -> tuple[str, str] | None:
    """Asks whether a phrase ends a text; half of the phrases are those of other sentences.

    Args:
        documents: Sentences of each.
        generator: Draws.

    Returns:
        Input and "True" or "False"; None where a drawn sentence has no last phrase or both have the same.
    """
    own, other = last_phrase(documents, generator), last_phrase(documents, generator)
    if own is None or other is None or own[1] == other[1]:
        return None
    true = bool(generator.integers(2))
    return f"{own[0]} | {own[1] if true else other[1]}", str(true)


def classification(documents: Sequence[Sentences], generator: np.random.Generator) -> tuple[str, str] | None:
    """Asks whether three or four sentences are as written, shuffled, or mixed with those of another document.

    Args:
        documents: Sentences of each.
        generator: Draws.

    Returns:
        Input and answer; None where documents are too short or the shuffle changed nothing.
    """
    first, second = (_drawn(documents, generator) for _ in range(2))
    size = int(generator.integers(3, 5))
    kind = _drawn((ORIGINAL, SHUFFLED, MIXED), generator)
    if len(first) < size or (kind == MIXED and (first is second or not second)):
        return None
    start = int(generator.integers(len(first) - size + 1))
    taken = list(first[start : start + size])
    if kind == SHUFFLED:
        mixed = [taken[place] for place in generator.permutation(size)]
        if mixed == taken:
            return None
        taken = mixed
    elif kind == MIXED:
        taken[int(generator.integers(size))] = _drawn(second, generator)
    return " ".join(taken), kind


MAKERS: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "next-sentence": next_sentence,
        "masked-word": masked_word,
        "last-phrase": last_phrase,
        "last-phrase-choice": last_phrase_choice,
        "classification": classification,
    }
)


def self_supervised_rows(documents: Sequence[str], task: str, *, count: int, seed: int) -> list[Example]:
    """Makes labelled rows of plain text.

    Args:
        documents: Texts; those of fewer than two sentences are passed over.
        task: One of `MAKERS`.
        count: How many rows, at most; places are drawn with replacement and equal rows kept once.
        seed: Seeds the draws.

    Returns:
        Examples with the field "text" and the answer as label.

    Raises:
        TooFewExamplesError: When the documents give fewer than two rows.
    """
    usable = [sentences for sentences in map(sentences_of, documents) if len(sentences) >= 2]
    generator = np.random.default_rng([seed, list(MAKERS).index(task)])
    found: dict[tuple[str, str], None] = {}
    for _ in range(4 * count if usable else 0):
        made = MAKERS[task](usable, generator)
        if made is not None and all(made):
            found[made] = None
        if len(found) == count:
            break
    if len(found) < 2:
        raise TooFewExamplesError(available=len(found), wanted=2, what=f"rows of the task {task!r} in the corpus")
    return [Example(f"{task}-{number}", {"text": text}, answer) for number, (text, answer) in enumerate(found)]


def _drawn(items: Sequence[T], generator: np.random.Generator) -> T:
    return items[int(generator.integers(len(items)))]


def _phrase(sentence: str) -> tuple[str, str] | None:
    """A sentence up to its last function word, and what stands behind."""
    words = sentence.split()
    last = max((place for place, word in enumerate(words) if word.lower() in FUNCTION_WORDS), default=-1)
    return None if last < 1 or last + 1 == len(words) else (" ".join(words[: last + 1]), " ".join(words[last + 1 :]))
