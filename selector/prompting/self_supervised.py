"""The templates of the tasks that plain text poses by itself (after Chen et al., 2022).

All have one input, {text}, and an answer that is written. How text becomes inputs and answers is
`policies.self_supervision`'s work.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from selector.prompting.template import PromptTemplate

LONGEST_ANSWER: Final = 64  # tokens; nothing is generated with these templates


def _asked(instruction: str) -> PromptTemplate:
    return PromptTemplate(
        template="Input: {text}\nOutput:{label}", instruction=instruction, answer_tokens=LONGEST_ANSWER
    )


TEMPLATES: Final[Mapping[str, PromptTemplate]] = MappingProxyType(
    {
        "next-sentence": _asked("Write the sentence that comes next."),
        "masked-word": _asked("Write the words that stand behind the marks, in order."),
        "last-phrase": _asked("Write the phrase that ends the last sentence."),
        "last-phrase-choice": _asked("Does the phrase behind the bar end the text? Answer True or False."),
        "classification": _asked("Say whether the text is Original, Shuffled or Mixed from two sources."),
    }
)
