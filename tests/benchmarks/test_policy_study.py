"""Tests of the study of policies: its settings hold together, and a stopped study goes on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import epr_study, policy_study, studied_tasks
from benchmarks.policy_study import VARIANTS, PolicyStudy, training
from benchmarks.policy_tables import policy_study_lines
from selector.data.task import Task


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_a_valid_setting(variant: str) -> None:
    """Guards a variant that fails only after those before it have run for an hour."""
    config = training(variant, 3)
    assert config.seed == 3
    assert config.total_steps % (config.copies * config.rollout_steps) == 0
    if variant != policy_study.DEFAULT:
        assert config != training(policy_study.DEFAULT, 3)


def test_a_stopped_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against training or answering twice, and against rewarding the queries that choose the best weights."""
    task = Task.load("rotten-tomatoes")
    monkeypatch.setattr(studied_tasks.Task, "load", lambda *_, **__: task)
    done: list[str] = []
    asked: list[tuple[str, ...]] = []

    def train(first: tuple[str, ...], second: tuple[str, ...], *, out: Path, **_: object) -> None:
        done.append("trained")
        asked.extend([first, second])
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.jsonl").write_text('{"steps": 1}\n')

    monkeypatch.setattr(policy_study, "train_policy", train)
    monkeypatch.setattr(policy_study, "provenance_of_policy", lambda *_: None)
    monkeypatch.setattr(policy_study, "with_rewards", lambda provenance, *_, **__: provenance)
    retriever = SimpleNamespace(encoder=SimpleNamespace(fingerprint="first"))
    monkeypatch.setattr(PolicyStudy, "_retriever", retriever)
    monkeypatch.setattr(PolicyStudy, "_problem", lambda _, queries, config: tuple(query.uid for query in queries))
    monkeypatch.setattr(policy_study, "export_policy", lambda _, artifact: artifact.mkdir())
    monkeypatch.setattr(policy_study, "load_policy", lambda *_, **__: None)
    monkeypatch.setattr(PolicyStudy, "_ask", lambda _, selector, queries: done.append("answered") or ["fresh"] * 3)
    monkeypatch.setattr(
        epr_study.Workspace, "engine", SimpleNamespace(is_right=lambda given, gold: given == gold, lm=None)
    )
    monkeypatch.setattr(epr_study.Workspace, "usage", epr_study.Workspace(task).usage)
    for _ in range(2):
        study = PolicyStudy("rotten-tomatoes", 0, limit=3, work=tmp_path / "work", out=tmp_path / "out")
        study.run_variant("rl")
    assert done == ["trained", "answered"]
    assert study.result["metrics"]["rl"] == [{"steps": 1}]
    rewarded, chosen = asked
    assert len(rewarded) == 3 * len(task.dev) // 4
    assert not set(rewarded) & set(chosen)
    retriever.encoder.fingerprint = "trained again"
    PolicyStudy("rotten-tomatoes", 0, limit=3, work=tmp_path / "work", out=tmp_path / "out").run_variant("rl")
    assert done == ["trained", "answered"] * 2


def written(folder: Path, **changes: Any) -> Path:
    """A policy study of two variants, one of which is being trained again."""
    study = {
        "task": "sst2",
        "seed": 1,
        "dtype": "float32",
        "config": {"training rl": {}},
        "cost": {"training rl": {"tokens": 5000, "seconds": 90}},
        "answers": {"rl": ["a", "b", "a", "b"], "rl, dense": ["a"]},
        "uids": ["1", "2", "3", "4"],
        "gold": ["a", "b", "b", "b"],
    }
    folder.mkdir(exist_ok=True)
    (folder / "sst2-1.json").write_text(json.dumps(study | changes))
    return folder


def test_a_policy_is_paired_with_the_same_queries_alone(tmp_path: Path) -> None:
    """Guards rows over queries that the retriever's study has not: another draw was paired place by place."""
    others = {name: ["b", "b", "b"] for name in ("epr: label vote", "nearest", "random")}
    retriever = {
        "task": "sst2",
        "seed": 1,
        "dtype": "float32",
        "free_text": False,
        "answers": {"epr": ["a", "b", "b"], **others},
        "uids": ["1", "2", "3"],
        "gold": ["a", "b", "b"],
    }
    found = {"sst2": [retriever]}
    head, _, row, everything, end = policy_study_lines(found, written(tmp_path / "same"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:6] == ["rl", "sst2", "3", "66.7", "66.7", "-33.3 [-100.0, +0.0]"]
    assert head.count("|") == row.count("|") == everything.count("|")
    assert end == ""
    for name, changed in (("uids", ["1", "2", "9", "4"]), ("gold", ["a", "b", "a", "b"]), ("dtype", "bfloat16")):
        assert len(policy_study_lines(found, written(tmp_path / name, **{name: changed}))) == 3
    later = {"uids": ["1", "2", "3", "9"], "gold": ["a", "b", "b", "a"]}  # beyond what both have answered
    assert len(policy_study_lines(found, written(tmp_path / "later", **later))) == 5
