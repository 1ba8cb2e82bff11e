"""Tests with lm-evaluation-harness itself: what its requests hold."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import pytest
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from selector.adapters.lm_eval import demonstration_sampler, write_prompts
from selector.adapters.source import DemonstrationSource
from selector.data.task import Task
from selector.errors import UnknownLabelError, UsageError
from selector.prompting.template import PromptTemplate
from selector.strategies.exported import load_policy
from selector.testing import planted_examples, planted_pool, planted_template
from selector.types import Example, Selection

QUERIES = planted_examples(6, seed=3, prefix="query")


class Recording(LM):
    """Remembers what it was asked; every second label of a request is the better one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []

    def loglikelihood(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        self.asked = [request.args for request in requests]
        return [(float(number % 2), False) for number in range(len(requests))]

    def loglikelihood_rolling(self, requests: Any, **_: Any) -> list[float]:
        return [0.0] * len(requests)

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        return [""] * len(requests)


@pytest.fixture(autouse=True)
def _nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    logging.getLogger("lm_eval").handlers.clear()


def test_the_harness_scores_the_prompts_as_they_were_written(
    planted_policy: Path, planted_task: Path, tmp_path: Path
) -> None:
    """Guards against a harness that adds a space, its own demonstrations or an instruction to a finished prompt."""
    task = Task.load(planted_task)
    selections = load_policy(planted_policy, task.pool).select(QUERIES, 2)
    path = write_prompts(tmp_path / "tasks", task.template, task.pool, QUERIES, selections, name="planted")
    lm = Recording()
    manager = TaskManager(include_path=str(path.parent), include_defaults=False)
    results = lm_eval.simple_evaluate(lm, tasks=["planted"], task_manager=manager, bootstrap_iters=0)
    want = [
        (task.template.prompt([task.pool[at] for at in chosen.indices], query), completion)
        for query, chosen in zip(QUERIES, selections, strict=True)
        for completion in task.template.verbalizers.values()
    ]
    assert lm.asked == want
    share = sum(query.label == task.template.labels[1] for query in QUERIES) / len(QUERIES)
    assert results["results"]["planted"]["acc,none"] == pytest.approx(share)


def test_the_sampler_chooses_for_the_row_being_answered(planted_policy: Path, planted_task: Path) -> None:
    """Guards the harness's own trap: a sampler that never sees the query chooses the same for all."""
    source = DemonstrationSource.load(planted_policy, planted_task)
    rows = datasets.Dataset.from_list([{**query.fields, "label": query.label} for query in QUERIES])
    task = ConfigurableTask(
        config={
            "task": "planted",
            "custom_dataset": lambda **_: datasets.DatasetDict({"test": rows}),
            "test_split": "test",
            "fewshot_split": "test",
            "fewshot_config": {"sampler": demonstration_sampler(source)},
            "output_type": "multiple_choice",
            "doc_to_text": "Review: {{text}}\nSentiment:",
            "doc_to_choice": ["fresh", "rotten"],
            "doc_to_target": "label",
            "num_fewshot": 2,
        }
    )
    template = planted_template()
    for row, query in zip(rows, QUERIES, strict=True):
        shown = source.examples([row], 2)[0]
        assert query.uid not in {example.uid for example in shown}
        assert task.fewshot_context(row, num_fewshot=2) == template.prompt(shown, query)


def test_the_sampler_alone(planted_policy: Path, planted_task: Path) -> None:
    """Guards the message where the harness does not tell the row, zero shots, and rows of another make."""
    source = DemonstrationSource.load(planted_policy, planted_task)
    sampler = demonstration_sampler(source, document=lambda example: {"uid": example.uid})([{"text": "x"}], rnd=1)
    with pytest.raises(UsageError, match="fewshot_split"):
        sampler.sample(2)
    assert sampler.sample(0) == []
    query = dict(QUERIES[0].fields)
    want = [{"uid": example.uid} for example in source.examples([query], 2)[0]]
    assert sampler.sample(2, eval_doc=query, df=[{"text": "y"}]) == want


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Guards against a task without gold answers."""
    pool, chosen = planted_pool(4), [Selection.of(0)]
    with pytest.raises(UnknownLabelError):
        write_prompts(tmp_path, planted_template(), pool, [Example("q", {"text": "x"})], chosen)
    free = PromptTemplate(template="{text}\n{label}", answer_tokens=4)
    with pytest.raises(UsageError, match="free text"):
        write_prompts(tmp_path, free, pool, [pool[1]], chosen)
    path = write_prompts(tmp_path / "new" / "folder", planted_template(), pool, [pool[1]], chosen)
    assert json.loads(path.with_suffix(".jsonl").read_text())["gold"] == 1
