"""Tests of where the answer stands in what was written."""

from __future__ import annotations

import pytest

from selector.data.pool import Pool
from selector.inference.engine import InferenceEngine
from selector.prompting.template import PromptTemplate
from selector.prompting.written_answer import answer_ends, answer_in
from selector.testing import ScriptedLanguageModel
from selector.types import Example, Selection


@pytest.mark.parametrize(
    ("template", "separator", "ends"),
    [
        ('{text} -> "{label}"', "\n\n", ('"', "\n\n")),
        ("{text}:{label}", "\n", ("\n",)),
        ("{text}:{label}.", "\n\n", (". ", ".\n", "\n\n")),
        ("{text}:{rationale}\nThe answer is{label}.", "\n\n", ("\n\n",)),
    ],
)
def test_what_stands_behind_the_label_ends_an_answer(template: str, separator: str, ends: tuple[str, ...]) -> None:
    """Guards quoted answers; numbers, which a period cut; and steps, in which what ends an answer may stand."""
    assert answer_ends(PromptTemplate(template, separator=separator, answer_tokens=4)) == ends


@pytest.mark.parametrize(
    ("template", "written", "answer"),
    [
        ("{text}\nA:{rationale}\nThe answer is{label}.", " It lies there.\nThe answer is Riga.", "Riga"),
        ("{text}\nA:{rationale}\nThe answer is{label}", " The answer is on a map. The answer is Riga", "Riga"),
        ("{text}\nA:{rationale}\n{label}", " It lies there.\nIt is known.\nRiga\n", "Riga"),
        ("{text}\nA:{rationale}\nThe answer is{label}", " Riga", "Riga"),
        ("{text}\nA:{rationale}\n{label}", "   It lies there.\nRiga", "Riga"),
        ("{text}\nA:{rationale}{label}", " steps Riga", "steps Riga"),
        ("{text}\nA:{rationale} is{label}", " the capital is Paris", "Paris"),
        ("{text}\nA:{rationale} So{label}", " It is cold. So South Korea", "South Korea"),
        ("{text}\nA:{rationale}. {label}", " It lies there. Riga.", "Riga."),
        ("{text}\nA:{rationale}: {label}", " By train: 12:30", "12:30"),
        ("{text}\nA:{rationale}\nThe answer is{label}.", " The answer is Riga. The answer is.", "Riga. The answer is"),
        ("{text}\nA:{label}.", " 5.5.", "5.5"),
        ("{text}\nA:{label}", " Riga, the capital. ", "Riga, the capital."),
    ],
)
def test_the_answer_stands_behind_the_rationale(template: str, written: str, answer: str) -> None:
    """Guards the rules that take all they are given: they compared the steps, and every answer was wrong."""
    assert answer_in(PromptTemplate(template, answer_tokens=9), written) == answer


@pytest.mark.parametrize(("rule", "right"), [("text", 1.0), ("words", 1.0), ("word", 1.0), ("number", 0.0)])
def test_an_answer_behind_steps_is_right_under_every_rule(rule: str, right: float) -> None:
    """Guards what `init` proposes for rationales: a perfect answer counted as wrong."""
    template = PromptTemplate("{text}\nA:{rationale}\nThe answer is{label}", answer_tokens=20, answer_rule=rule)
    pool = Pool([Example("d", {"text": "Capital of 2 lands?"}, "Rome", rationale="Country number 10.")])
    lm = ScriptedLanguageModel(lambda *_: " It lies by the sea.\nThe answer is Riga")
    engine = InferenceEngine(lm, template, pool)
    assert engine.accuracy([Example("q", {"text": "Capital of Latvia?"}, "Riga")], [Selection.of(0)]) == right
