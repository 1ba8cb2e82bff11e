"""Instructions and templates that the study of prompts tries, written by hand before any result was seen."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

INSTRUCTIONS: Final = MappingProxyType(
    {
        "sst2": (
            "Decide whether the review is positive or negative.",
            "Read the review of a film and name its sentiment.",
        ),
        "trec6": (
            "Say what kind of answer the question asks for.",
            "Say whether the question asks for an abbreviation, description, entity, human, location or number.",
        ),
    }
)
TEMPLATES: Final = MappingProxyType(
    {
        "sst2": (
            "{text}\nThis review is{label}",
            "{text} All in all, the film was received in a way that is{label}",
            'Someone wrote about a film: "{text}" The tone of it is{label}',
            "Input: {text}\nOutput:{label}",
        ),
        "trec6": (
            "{text}\nThe answer is of the kind:{label}",
            "Q: {text}\nKind of answer:{label}",
            '"{text}" asks for a thing of the class{label}',
            "Input: {text}\nOutput:{label}",
        ),
    }
)
