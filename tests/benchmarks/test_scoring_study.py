"""Tests of the study of scoring functions: pools, calibrations, balance, and that a stopped study goes on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scoring_study import (
    CALIBRATIONS,
    SCORINGS,
    ScoringStudy,
    ScoringStudyConfig,
    calibrated,
    outcomes,
    table,
    two_way_bootstrap,
    unbalanced,
)
from selector.data.task import Task
from selector.errors import UsageError
from selector.inference.calibration import batch_calibrated
from selector.inference.engine import InferenceEngine
from selector.testing import ScriptedLanguageModel, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Selection

SMALL = ScoringStudyConfig(shots=4, queries=6)


@pytest.fixture(scope="module")
def task() -> Task:
    queries = tuple(planted_examples(8, seed=7, prefix="query"))
    bundled = Task.load("rotten-tomatoes")
    return replace(bundled, pool=planted_pool(60), test=queries, template=planted_template())


def test_unbalanced_pools_keep_one_label_and_a_share_of_the_others() -> None:
    """Guards the setting: the share that was asked for, members in order, the same ones again."""
    made = unbalanced(planted_pool(60), majority="rotten", share=0.1, seed=0)
    assert Counter(one.label for one in made) == {"rotten": 30, "fresh": 3}
    places = [int(one.uid.removeprefix("train-")) for one in made]
    assert places == sorted(places)
    assert made.fingerprint == unbalanced(planted_pool(60), majority="rotten", share=0.1, seed=0).fingerprint


@pytest.mark.parametrize("scoring", SCORINGS)
def test_calibrations_are_those_of_the_engine(scoring: str) -> None:
    """Guards the study against another arithmetic than that of the library."""
    lm, template, pool = ToyLanguageModel(), planted_template(), planted_pool()
    queries, chosen = planted_examples(5, seed=4, prefix="q"), Selection.of(1, 2, 5)
    found = calibrated(InferenceEngine(lm, template, pool, scoring=scoring), queries, chosen, seed=0)
    assert list(found) == list(CALIBRATIONS)
    selections = [chosen] * len(queries)
    for name in ("none", "contextual"):
        engine = InferenceEngine(lm, template, pool, scoring=scoring, calibration=name)
        assert found[name] == pytest.approx(engine.score(queries, selections))
    assert found["batch"] == pytest.approx(batch_calibrated(found["none"]))
    assert not np.allclose(found["domain"], found["contextual"])


def test_a_stopped_study_goes_on(tmp_path: Path, task: Task) -> None:
    """Guards against measuring a cell twice, or mixing settings in one file."""
    out = tmp_path / "scoring.json"
    for expected in (True, False):
        lm = ToyLanguageModel()
        study = ScoringStudy(SMALL, out=out)
        for setting in ("sst2", "sst2, 9 to 1"):
            for number in range(2):
                study.run(setting, task, lm, number=number)
        assert (lm.usage.calls > 0) == expected
    assert len(study.result["cells"]) == 2 * 2 * 3
    rare = [cell["labels"] for cell in study.result["cells"] if cell["setting"] == "sst2, 9 to 1"]
    assert {max(labels, key=labels.get) for labels in rare} == {"fresh", "rotten"}
    lines = table(study.result)
    assert len(lines) == 2 + 2 * len(CALIBRATIONS) + 1
    assert "| 2 x 6 |" in lines[2]
    with pytest.raises(UsageError, match="other settings"):
        ScoringStudy(replace(SMALL, shots=2), out=out)
    with pytest.raises(UsageError, match="language model"):
        study.run("sst2", task, ScriptedLanguageModel(lambda *_: ""), number=2)


def test_outcomes_weigh_labels_alike() -> None:
    """Guards balanced accuracy: who always answers the common label is right half of the time."""
    gold = ["ham"] * 9 + ["spam"]
    cell = {"setting": "sms_spam", "set": 0, "scoring": "direct", "answers": {"none": ["ham"] * 10}}
    own = outcomes({"gold": {"sms_spam": gold}, "cells": [cell]}, "sms_spam", "direct", "none")
    assert own.mean() == pytest.approx(0.5)


def test_intervals_hold_for_other_sets() -> None:
    """Guards intervals that ignored the sets, which covered the truth in half of the repetitions."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        values = rng.normal(0, 0.1, (6, 1)) + rng.normal(0, 0.3, (1, 40)) + rng.normal(0, 0.3, (6, 40))
        found = two_way_bootstrap(values, rounds=400)
        covered += found.low <= 0 <= found.high
    assert covered >= 88
    assert two_way_bootstrap(np.full((3, 4), 0.25)).high == pytest.approx(0.25)
