"""Tests of the study of prompts for whole tasks: what is trained on, what is answered, and its table."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import corpus_study, epr_study, policy_study, studied_tasks
from benchmarks.corpus_study import VARIANTS, CorpusStudy, training
from benchmarks.policy_tables import corpus_lines
from selector.data.task import Task


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_a_valid_setting(variant: str) -> None:
    """Guards a variant that fails only after those before it have run for an hour."""
    assert training(variant, 3).seed == 3
    assert variant == "rl" or training(variant, 3) != training("rl", 3)


def test_nothing_that_judges_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the new pool, and the queries that choose the weights, against being trained on."""
    task = Task.load("rotten-tomatoes")
    monkeypatch.setattr(studied_tasks.Task, "load", lambda *_, **__: task)
    trained: list[Task] = []

    def train(workspace: Any, out: Path, **_: object) -> None:
        trained.append(workspace.task)
        out.mkdir(parents=True)

    answered: list[str] = []
    monkeypatch.setattr(corpus_study, "train_corpus_policy_on", train)
    monkeypatch.setattr(policy_study, "export_policy", lambda _, artifact: artifact.mkdir())
    monkeypatch.setattr(CorpusStudy, "_answer", lambda _, name, __: answered.append(name))
    monkeypatch.setattr(
        epr_study.Workspace,
        "engine",
        SimpleNamespace(lm=None, template=task.template, pool=task.pool, scoring="direct", calibration="none"),
    )
    monkeypatch.setattr(epr_study.Workspace, "usage", epr_study.Workspace(task).usage)
    monkeypatch.setattr(corpus_study, "InferenceEngine", lambda *_, **__: None)
    for _ in range(2):
        study = CorpusStudy("rotten-tomatoes", 0, limit=3, work=tmp_path / "work", out=tmp_path / "out")
        study.run_variant("rl")
    (used,) = trained
    known = {example.uid for part in (used.pool, used.reward, used.dev) for example in part}
    assert not known & {example.uid for example in study.new_pool}
    assert not {one.uid for one in used.reward} & {one.uid for one in used.dev}
    assert [*used.reward, *used.dev] == list(study.judges) == list(task.dev)
    new = ("rl, new pool", "rl, new pool, labels free", "rl, new pool, hundred")
    assert answered == ["random", "random, new pool", "rl", *new, "best-of-k as dear as rl"] * 2


def test_the_table_pairs_what_all_have_answered(tmp_path: Path) -> None:
    """Guards differences of the wrong sign, and rows over different queries."""
    new = {"random, new pool": 1, "rl, new pool": 2, "rl, new pool, labels free": 0, "rl, new pool, hundred": 1}
    right = {"random": 1, "best-of-k as dear as rl": 2, "rl": 3, **new}
    answers = {name: ["yes"] * count + ["no"] * (4 - count) for name, count in right.items()}
    answers["random"].append("no")  # one query more than the others
    study = {
        "task": "trec6",
        "seed": 0,
        "free_text": False,
        "gold": ["yes"] * 5,
        "uids": list("abcde"),
        "config": {"training rl": {}},
        "cost": {"training rl": {"seconds": 60.0, "tokens": 1000, "tokens_computed": 10}},
        "answers": answers,
    }
    (tmp_path / "trec6-0.json").write_text(json.dumps(study))
    lines = corpus_lines(tmp_path)
    assert lines[2].startswith("| rl | trec6 | 1 x 4 | 25.0 | 50.0 | 75.0 | +50.0 [")
    assert "| 25.0 | 50.0 | +25.0 [" in lines[2]
    assert lines[2].endswith("] | 0.0 | 25.0 | 1,000 | 1.0 |")
    assert lines[3].startswith("| rl | **all queries** | 1 x 4 |")
    del answers["rl, new pool, hundred"]
    (tmp_path / "trec6-0.json").write_text(json.dumps(study))
    assert corpus_lines(tmp_path)[2].endswith("] | 0.0 | - | 1,000 | 1.0 |")  # measured before there was such a row
