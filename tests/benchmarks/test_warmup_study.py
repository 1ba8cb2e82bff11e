"""Tests of the study of warm-ups: arms hold together, nothing held out is learned, a finished arm is not run again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tables, warmup_study
from benchmarks.warmup_study import ARMS, HELD_OUT, material, settings, started, table
from policies.warmup import WarmedUp
from policies.warmup_episodes import documents_apart, labelled_tasks
from policies.warmup_evaluation import gains
from selector.data.pool import normalised_text


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_a_valid_setting(arm: str) -> None:
    """Guards an arm that fails only after the one before has run for half an hour."""
    assert settings(arm, steps=5, seed=2).seed == 2


@pytest.mark.parametrize("arm", ARMS)
def test_nothing_held_out_is_trained_on(arm: str, shared_data: Path) -> None:
    """Guards the study's claim: tasks and texts of the two sides are apart, and prompts of both look alike."""
    del shared_data
    given = material(arm)
    instructed = bool(ARMS[arm].get("instructions"))
    tasks, _ = labelled_tasks(given.tasks, given.held_out, instructions=instructed)
    assert len(tasks) >= 6 or given.documents
    assert [task.name for task in given.held_out] == list(HELD_OUT)
    texts = {tuple(row.fields.values()) for task in given.held_out for row in task.test}
    assert not any(tuple(row.fields.values()) in texts for task in tasks for row in task.rows)
    long = {normalised_text({"": text}) for row in texts for text in row if len(text.split()) >= 8}
    learned = [normalised_text({"": text}) for text in documents_apart(given.documents, given.held_out)]
    assert bool(learned) == bool(given.documents)
    assert not any(text in document for document in learned for text in long)
    assert all(bool(task.template.instruction) == instructed for task in tasks)
    assert all(task.instructed().template.instruction for task in given.held_out)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], dict[str, Any]]:
    """Runs the study with a training that does nothing, and gives the result file."""
    found = WarmedUp(tmp_path, gains({"sst2": [0.0, 1.0]}, {"sst2": [1.0, 1.0]}))

    def pretend(*_: object, out: Path, **__: object) -> WarmedUp:
        out.mkdir(parents=True, exist_ok=True)
        return found

    def study(seed: int) -> dict[str, Any]:
        out = tmp_path / "warmup.json"
        given: dict[str, Any] = {"arms": "metaicl", "steps": 3, "queries": 2, "seeds": 1, "measure": 0}
        warmup_study.main(**given, seed=seed, work=tmp_path / "work", out=out)
        result: dict[str, Any] = json.loads(out.read_text())
        return result

    monkeypatch.setattr(warmup_study, "warm_up", pretend)
    monkeypatch.setattr(warmup_study, "material", lambda _: None)
    return study


def test_a_finished_arm_keeps_its_time(run: Callable[[int], dict[str, Any]]) -> None:
    """Guards against a second run that replaces minutes of work by seconds of looking."""
    first = run(0)
    assert run(0) == first
    lines = table(first)
    assert "50.0 to 100.0: +50.0" in lines[2]
    assert len({line.count("|") for line in lines[:-1]}) == 1


def test_seeds_stand_side_by_side(run: Callable[[int], dict[str, Any]]) -> None:
    """Guards the result of the first seed, which the second one replaced."""
    first = run(0)["runs"]
    both = run(1)
    assert len(both["runs"]) == 2
    assert first.items() <= both["runs"].items()
    assert [line.split(" | ")[1] for line in table(both)[2:4]] == ["0", "1"]
    assert all(own["cores"] >= 1 and own["threads"] >= 1 for own in both["runs"].values())


def test_a_stopped_arm_adds_its_parts_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the time of a resumed arm, which was not told, and must not count the hours in which nothing ran."""
    folder, seconds = tmp_path / "metaicl-3-0", iter([1000.0, 5000.0, 9000.0])
    monkeypatch.setattr(warmup_study.time, "time", lambda: next(seconds))
    assert started(folder) == 1000
    folder.mkdir()
    for now, newest in ((5000, 1060), (9000, 5030)):
        (folder / "metrics.jsonl").touch()
        os.utime(folder / "metrics.jsonl", (newest, newest))
        assert started(folder) == now - {5000: 60, 9000: 90}[now]


def test_results_go_between_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the page: a result that is there is shown in its own section, and one that is missing changes nothing."""
    monkeypatch.setattr(tables, "WARM_UP", tmp_path / "absent.json")
    monkeypatch.setattr(tables, "SCORING", tmp_path / "scoring.json")
    before = tables.page()
    (tmp_path / "scoring.json").write_text(json.dumps({"gold": {}, "cells": []}))
    after = tables.page()
    assert after != before
    section = after.split("<!-- scoring: begin -->\n")[1].split("<!-- scoring: end -->")[0]
    assert section.startswith("| demonstrations")
    assert "<!-- warmup: begin -->" in after
