"""Problems of sums, and a language model that goes by a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from selector.prompting.reasoning.problems import Problem
from selector.testing import ScriptedLanguageModel


@pytest.fixture
def problems() -> list[Problem]:
    """Solved sums."""
    return [
        Problem(
            f"sum-{number}",
            f"Tim has {number} pears and buys {number + 1}. How many has he?",
            str(2 * number + 1),
            f"{number} + {number + 1} = {2 * number + 1} pears.",
        )
        for number in range(2, 10)
    ]


@pytest.fixture
def asked() -> Problem:
    """A question whose answer is 30."""
    return Problem("query-0", "Ann has 10 figs and picks 20. How many has she?", "30")


@pytest.fixture
def scripted() -> Callable[[Mapping[str, str]], ScriptedLanguageModel]:
    """Makes a language model that writes what goes with the end of its prompt; the longest end wins."""

    def made(replies: Mapping[str, str]) -> ScriptedLanguageModel:
        def reply(prompt: str, seed: int) -> str:
            del seed
            return max(
                ((end, text) for end, text in replies.items() if prompt.endswith(end)), key=lambda one: len(one[0])
            )[1]

        return ScriptedLanguageModel(reply)

    return made
