"""Planted data: short reviews whose words tell their label, and the template that goes with them."""

from __future__ import annotations

import numpy as np

from selector.data.pool import Pool
from selector.prompting.template import PromptTemplate
from selector.types import Example

_TOPICS = {
    "fresh": ("warm", "brilliant", "funny", "moving", "superb", "delightful"),
    "rotten": ("dull", "clumsy", "tedious", "hollow", "awful", "pointless"),
}
_SUBJECTS = ("plot", "cast", "music", "script", "ending", "camera", "dialogue", "pacing")


def planted_examples(count: int, *, seed: int = 0, prefix: str = "train") -> list[Example]:
    """Makes short reviews whose words tell their label.

    Args:
        count: How many.
        seed: Seeds the choice of words.
        prefix: Start of every uid.

    Returns:
        Distinct examples with the field "text", labels "fresh" and "rotten" in turn.
    """
    rng = np.random.default_rng(seed)
    labels = tuple(_TOPICS)
    examples = []
    for number in range(count):
        label = labels[number % len(labels)]
        words = rng.choice(_TOPICS[label], size=2, replace=False)
        subject = rng.choice(_SUBJECTS)
        text = f"the {subject} is {words[0]} and {words[1]} in scene {number}{prefix}"
        examples.append(Example(f"{prefix}-{number}", {"text": text}, label))
    return examples


def planted_pool(count: int = 24, *, seed: int = 0) -> Pool:
    """Makes a pool of planted reviews.

    Args:
        count: Its size.
        seed: Seeds the choice of words.

    Returns:
        The pool; see `planted_examples`.
    """
    return Pool(planted_examples(count, seed=seed))


def planted_template() -> PromptTemplate:
    """Makes the template that goes with the planted reviews.

    Returns:
        A two-label template over the field "text".
    """
    return PromptTemplate(
        template="Review: {text}\nSentiment:{label}", verbalizers={"fresh": " fresh", "rotten": " rotten"}
    )
