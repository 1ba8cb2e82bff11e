"""Tests of the presets: their task files without data, and every one of them on its real data with the toy model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selector.data.presets import KINDS, preset_details, preset_named, preset_names, presets
from selector.data.task import BUNDLED_TASKS, Task
from selector.errors import UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.prompting.template import PromptTemplate
from selector.strategies.random import RandomSelector
from selector.testing import ToyLanguageModel
from selector.types import Example, Selection

FROM_DATA = [name for name in preset_names() if name not in ("rotten-tomatoes", "bbc-news")]


class GoldWriter(ToyLanguageModel):
    """Writes the gold target behind every query that it knows."""

    def __init__(self, template: PromptTemplate, queries: Sequence[Example]) -> None:
        super().__init__(context_length=2048)
        self._targets = {template.query_text(query): template.target(query) for query in queries}

    def generate(self, prompts: Sequence[str], *, stop: Sequence[str] = (), **options: Any) -> list[str]:
        """Cuts targets where a model would have been stopped."""
        del options
        written = []
        for prompt in prompts:
            (target,) = (own for text, own in self._targets.items() if prompt.endswith(text))
            written.append(target[: min((target.index(mark) for mark in stop if mark in target), default=None)])
        return written


def test_every_preset_says_what_it_is_without_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the list of tasks on a machine without data sets, and a kind that no preset stands for."""
    monkeypatch.delenv("SHOTSMITH_DATA", raising=False)
    found = presets()
    assert {preset.name for preset in found} == {file.stem for file in BUNDLED_TASKS.glob("*.toml")}
    assert {preset.kind for preset in found} == set(KINDS)
    for preset in found:
        assert preset.description.endswith(".")
        assert preset.instruction.endswith("."), preset.name
        assert preset.answers != "0 labels", preset.name
        if preset.name in FROM_DATA:
            assert not preset.found
            assert all(source.startswith(f"data:{preset.name}/") for source in preset.sources.values())
    assert preset_details(preset_named("copa"))["answers"] == "own choices"
    with pytest.raises(UnknownNameError, match="trec6"):
        preset_named("trec7")


def test_there_is_a_preset_for_every_data_set(shared_data: Path) -> None:
    """Guards against a data set that nobody can name, and against labels that only the data would tell."""
    assert sorted(FROM_DATA) == sorted(folder.name for folder in shared_data.iterdir() if folder.is_dir())
    assert all(preset.found for preset in presets(data_dir=shared_data) if preset.name in FROM_DATA)


@pytest.mark.parametrize("name", FROM_DATA)
def test_a_preset_answers_its_real_queries(name: str, shared_data: Path) -> None:
    """Guards templates, labels and answer rules: the gold answer can be given, is read as right, and is not shown."""
    task = Task.load(name, data_dir=shared_data)
    template, queries = task.template, task.test[:20]
    engine = InferenceEngine(GoldWriter(template, queries), template, task.pool, scoring=task.lm.scoring)
    selections = RandomSelector(task.pool).select(queries, 2)
    for query in queries:
        prompt = template.prompt([], query)
        assert prompt == template.prompt([], replace(query, label=None, aliases=(), rationale=None))
        assert prompt == prompt.rstrip(), "a space before the answer belongs to the answer"
    if template.free_text:
        assert engine.accuracy(queries, selections) == 1.0
    few = queries[:2]
    for prediction, query in zip(engine.predict(few, selections[:2]), few, strict=True):
        assert template.free_text or prediction.label in template.answers_of(query)
        assert list(prediction.scores) == list(dict.fromkeys(template.answers_of(query)))
        assert all(map(math.isfinite, prediction.scores.values()))
        assert prediction.selection.indices
    assert (engine.gold_logprobs(few, [Selection.of()] * 2) <= 0).all()


def test_details_show_the_prompt_of_a_real_query(shared_data: Path) -> None:
    """Guards `shotsmith tasks NAME` against a prompt that a run would not send."""
    details = preset_details(preset_named("triviaqa", data_dir=shared_data), data_dir=shared_data)
    assert details["prompt"].startswith("Question: ")
    assert details["prompt"].endswith("\nAnswer:")
    assert len(details["gold"]) > 1
    assert details["rows"]["test"] == 300
