"""Tests of the DSPy adapter with DSPy's own modules and its scripted language model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.utils.dummies import DummyLM

from selector.adapters.dspy import SelectedDemonstrations, SelectedFewShot
from selector.adapters.source import DemonstrationSource
from selector.errors import InvalidExampleError, UsageError
from selector.strategies.exported import load_learned
from selector.strategies.lexical import BM25Selector
from selector.testing import planted_examples
from selector.types import Query, Selection

EXAMPLES = planted_examples(16)
TEXTS = [example.fields["text"] for example in planted_examples(4, seed=3, prefix="query")]


@pytest.fixture
def lm() -> Iterator[DummyLM]:
    model = DummyLM([{"reasoning": "it says so", "label": "fresh"}] * 60)
    with dspy.context(lm=model):
        yield model


@pytest.fixture
def source(planted_policy: Path, planted_task: Path) -> DemonstrationSource:
    return DemonstrationSource.load(planted_policy, planted_task)


def trainset() -> list[Any]:
    return [dspy.Example(label=example.label, text=example.fields["text"]).with_inputs("text") for example in EXAMPLES]


def shown(lm: DummyLM, call: int = -1) -> list[str]:
    """The users' turns of a call: demonstrations, then the query."""
    return [message["content"] for message in lm.history[call]["messages"] if message["role"] == "user"]


def test_every_call_sees_its_own_demonstrations(lm: DummyLM, source: DemonstrationSource) -> None:
    """Guards content and order of what reaches the model, and that the program itself is not changed."""
    predictor = dspy.Predict("text -> label")
    program = SelectedDemonstrations(predictor, source, k=3)
    for text in TEXTS:
        assert program(text=text).label == "fresh"
        turns = shown(lm)
        want = [row["text"] for row in source.rows([{"text": text}], 3)[0]] + [text]
        assert len(turns) == 4
        assert all(part in turn for part, turn in zip(want, turns, strict=True))
    assert predictor.demos == []


def test_calls_in_threads_do_not_mix(lm: DummyLM, source: DemonstrationSource) -> None:
    """Guards against demonstrations that are set on a shared predictor."""
    program = SelectedDemonstrations(dspy.ChainOfThought("text -> label"), source, k=2)

    def ask(text: str) -> None:
        with dspy.context(lm=lm):  # DSPy's settings are those of a thread
            program(text=text)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, TEXTS * 4))
    assert len(lm.history) == 16
    for number in range(16):
        turns = shown(lm, number)
        (text,) = [text for text in TEXTS if text in turns[-1]]
        want = [row["text"] for row in source.rows([{"text": text}], 2)[0]]
        assert all(part in turn for part, turn in zip(want, turns, strict=False))


def test_the_asynchronous_call_sees_them_too(lm: DummyLM, source: DemonstrationSource) -> None:
    """Guards `acall`, which does not go through `forward`."""
    program = SelectedDemonstrations(dspy.Predict("text -> label"), source, k=2)
    assert asyncio.run(program.acall(text=TEXTS[0])).label == "fresh"
    assert len(shown(lm)) == 3


def test_choosing_leaves_the_event_loop_free(lm: DummyLM) -> None:
    """Guards a server: all of its other requests stood still while one chose demonstrations."""
    ran = threading.Event()

    class Waiting(BM25Selector):
        def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
            assert ran.wait(20), "the event loop did not go on"
            return super().select(queries, k)

    program = SelectedFewShot(Waiting, k=2).compile(dspy.Predict("text -> label"), trainset=trainset())

    async def other() -> None:
        ran.set()

    async def both() -> None:
        await asyncio.gather(program.acall(text=TEXTS[0]), other())

    asyncio.run(both())
    assert len(shown(lm)) == 3


class TwoSteps(dspy.Module):
    """A program of which one step alone has the signature of the demonstrations."""

    def __init__(self) -> None:
        super().__init__()
        self.label = dspy.Predict("text -> label")
        self.reply = dspy.Predict("text, label -> reasoning")

    def forward(self, text: str) -> Any:
        return self.reply(text=text, label=self.label(text=text).label)


def test_the_optimizer_takes_its_training_set_as_the_pool(lm: DummyLM) -> None:
    """Guards `compile`: a copy, demonstrations for the fitting step only, other examples than the query's own."""
    student = TwoSteps()
    program = SelectedFewShot(BM25Selector, k=2).compile(student, trainset=trainset())
    assert program._compiled
    assert program.student is not student
    text = EXAMPLES[3].fields["text"]
    program(text=text)
    first, second = shown(lm, -2), shown(lm, -1)
    assert len(first) == 3
    assert len(second) == 1
    assert not any(text in turn for turn in first[:-1])


def test_an_exported_policy_optimizes(lm: DummyLM, planted_policy: Path) -> None:
    """Guards the use of a policy over another pool than its own, which has to be asked for."""
    teleprompter = SelectedFewShot(lambda pool: load_learned(planted_policy, pool, force=True), k=2)
    program = teleprompter.compile(dspy.Predict("text -> label"), trainset=trainset())
    program(text=TEXTS[0])
    assert len(shown(lm)) == 3


def test_a_saved_program_comes_back(lm: DummyLM, tmp_path: Path) -> None:
    """Guards saving: the program's state is written and read by DSPy, without the models that choose."""
    teleprompter = SelectedFewShot(BM25Selector, k=2)
    program = teleprompter.compile(dspy.Predict("text -> label"), trainset=trainset())
    program.student.signature = program.student.signature.with_instructions("Judge the review.")
    program.save(tmp_path / "program.json")
    again = teleprompter.compile(dspy.Predict("text -> label"), trainset=trainset())
    again.load(tmp_path / "program.json")
    assert again.student.signature.instructions == "Judge the review."
    with pytest.raises(UsageError, match="save_program=False"):
        program.save(tmp_path / "whole", save_program=True)
    assert not (tmp_path / "whole").exists()
    copied = program.deepcopy()
    assert copied.source is program.source
    copied(text=TEXTS[0])
    assert len(shown(lm)) == 3


def test_mistakes_are_named(source: DemonstrationSource) -> None:
    """Guards signatures and training sets that do not fit, which DSPy passes over in silence."""
    with pytest.raises(UsageError, match="no predictor reads"):
        SelectedDemonstrations(dspy.Predict("question -> answer"), source)
    with pytest.raises(InvalidExampleError, match="lacks"):
        SelectedDemonstrations(dspy.Predict("text -> label"), source)(review="x")
    student = dspy.Predict("text -> label")
    for wrong in ([], [dspy.Example(text="a", label="b")], [dspy.Example(a="a", b="b", c="c").with_inputs("a")]):
        with pytest.raises(UsageError, match="with_inputs"):
            SelectedFewShot(BM25Selector).compile(student, trainset=wrong)
    two = [dspy.Example(text=f"t{number}", label="b", why="c").with_inputs("text") for number in range(5)]
    assert SelectedFewShot(BM25Selector, label="label").compile(student, trainset=two).source.columns.label == "label"
