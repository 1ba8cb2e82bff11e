"""Tests of the order study, on fakes: its numbers are those of the engine, and a stopped study goes on."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import order_study
from benchmarks.order_study import OrderStudy, OrderStudyConfig, summary, summary_lines, taken_accuracy
from selector.data.splits import LeakReport
from selector.data.task import Task, task_path
from selector.errors import UsageError
from selector.inference.engine import InferenceEngine
from selector.lm.base import CompletionScore
from selector.lm.config import LanguageModelConfig
from selector.retrieval.config import EncoderConfig
from selector.testing import ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Selection
from selector.workspace import Workspace

CONFIG = OrderStudyConfig(shots=3, permutations=6, queries=8, dev=5)


class MoodyModel(ToyLanguageModel):
    """Scores by a hash of the whole text, so that every order counts; writes one review behind each prompt."""

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        self._usage = self.usage.also(calls=len(prompts), tokens=len(prompts), tokens_computed=len(prompts))
        return [
            CompletionScore(-3 * zlib.crc32((prompt + completion).encode()) / 2**32, 1, 1)
            for prompt, completion in zip(prompts, completions, strict=True)
        ]

    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]:
        del options
        return [f" the plot is dull and {at} hollow\nSentiment: rotten" for at, _ in enumerate(prompts)]


def workspace() -> Workspace:
    task = Task(
        name="planted",
        pool=planted_pool(),
        reward=(),
        dev=tuple(planted_examples(6, seed=1, prefix="dev")),
        test=tuple(planted_examples(10, seed=2, prefix="test")),
        template=planted_template(),
        lm=LanguageModelConfig(),
        encoder=EncoderConfig(),
        leaks=LeakReport(),
    )
    made = Workspace(task)
    made.__dict__["engine"] = InferenceEngine(MoodyModel(), task.template, task.pool)
    return made


def test_numbers_are_those_of_the_engine(tmp_path: Path) -> None:
    """Guards against accuracies that belong to another order, and orders taken by another query."""
    study = OrderStudy(workspace(), CONFIG, out=tmp_path / "order.json")
    study.run(2)
    engine, queries = study.workspace.engine, study.queries
    first, second = study.result["sets"]
    assert first["orders"][0] != second["orders"][0]
    assert first["probes"] == 6
    assert first["cost"]["tokens_computed"] > 0
    for order, row in zip(first["orders"], first["right"], strict=True):
        accuracy = engine.accuracy(queries, [Selection.of(*order)] * len(queries))
        assert row.count("1") / len(queries) == accuracy
    assert list(first["taken"]) == [*order_study.ENTROPY, "mdl", "best-on-dev"]
    assert len(first["taken"]["mdl"]) == len(queries)
    assert len(first["taken"]["globale"]) == len(first["taken"]["best-on-dev"]) == 1
    own = [Selection.of(*first["orders"][at]) for at in first["taken"]["mdl"]]
    assert taken_accuracy(first, "mdl") == engine.accuracy(queries, own)
    assert json.loads(study.out.read_text(encoding="utf-8")) == study.result
    assert list(tmp_path.iterdir()) == [study.out]


def test_a_stopped_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against asking again what is in the result file, and against mixing sets of different settings."""
    whole = OrderStudy(workspace(), CONFIG, out=tmp_path / "whole.json")
    whole.run(2)
    out = tmp_path / "order.json"
    OrderStudy(workspace(), CONFIG, out=out).run(1)
    later = OrderStudy(workspace(), CONFIG, out=out)
    later.run(2)
    for measured in (*whole.result["sets"], *later.result["sets"]):
        del measured["cost"]
    assert later.result == whole.result
    monkeypatch.setattr(OrderStudy, "_measured", lambda *_: pytest.fail("asked again"))
    OrderStudy(workspace(), CONFIG, out=out).run(2)
    with pytest.raises(UsageError, match="another settings"):
        OrderStudy(workspace(), OrderStudyConfig(shots=2), out=out)


def test_dev_inputs_can_be_the_probes(tmp_path: Path) -> None:
    """Guards the cheaper probing set: nothing is written by the language model."""
    study = OrderStudy(workspace(), OrderStudyConfig(shots=2, queries=3, dev=4, probes=4), out=tmp_path / "order.json")
    study.workspace.engine.lm.generate = lambda *_, **__: pytest.fail("written")  # type: ignore[method-assign]
    study.run(1)
    assert study.result["sets"][0]["probes"] == 4


def measured(right: list[str], **taken: list[int]) -> dict[str, Any]:
    return {"orders": [[0, 1], [1, 0]], "right": right, "taken": taken}


def test_gain_is_over_the_mean_of_all_orders() -> None:
    """Guards the sign and the baseline of the gain, and an order for each query read as one for all."""
    sets = [measured(["1111", "1100"], best=[0], mixed=[1, 1, 0, 0]), measured(["1000", "1110"], best=[1], mixed=[0])]
    found = summary(sets)
    assert found["mean over orders"] == np.mean([0.75, 0.5])
    assert (found["worst order"], found["best order"]) == (np.mean([0.5, 0.25]), np.mean([1.0, 0.75]))
    assert found["orderers"]["best"]["accuracy"] == np.mean([1.0, 0.75])
    assert found["orderers"]["best"]["gain"]["delta"] == 0.25
    assert found["orderers"]["mixed"]["accuracy"] == np.mean([1.0, 0.25])
    assert found["orderers"]["mixed"]["gain"]["low"] == -0.25
    lines = summary_lines(found)
    assert "| best | 87.5 | +25.0 [+25.0, +25.0] |" in lines
    assert lines[-1] == found["stability"]["verdict"]


def test_the_command_loads_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards options that never reach the study."""
    loaded = []
    monkeypatch.setattr(order_study, "studied_task", loaded.append)
    monkeypatch.setattr(order_study, "Workspace", lambda _: workspace())
    out = tmp_path / "order.json"
    options = {"shots": 3, "permutations": 2, "queries": 3, "dev": 2, "probes": 2, "seed": 4}
    order_study.main(task="sst2", sets=1, out=out, **options)
    assert loaded == ["sst2"]
    assert task_path("sst2").is_file()
    assert json.loads(out.read_text(encoding="utf-8"))["settings"] == options
