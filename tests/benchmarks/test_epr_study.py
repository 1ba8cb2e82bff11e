"""Tests of the EPR study: its tables say what the result files hold, and a stopped study goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import epr_recipes, epr_study, outcomes, policy_speed, policy_tables, studied_tasks, tables
from benchmarks.epr_study import Study
from benchmarks.search import COLUMNS
from envs.planted import planted_problem
from policies.retriever_config import RetrieverTrainingConfig
from selector.data.task import Task
from selector.errors import UsageError


def study(task: str, seed: int, right: dict[str, int], *, queries: int = 10) -> dict[str, Any]:
    gold = ["yes"] * queries
    answers = {name: ["yes"] * count + ["no"] * (queries - count) for name, count in right.items()}
    cost = {
        stage: {"seconds": 60.0, "tokens": 100, "tokens_computed": 50}
        for stage in ("mining", "training epr", "answering epr")
    }
    header = {"task": task, "seed": seed, "shots": 8, "free_text": False, "pool": 20, "config": {"training epr": {}}}
    uids = [f"test-{seed}-{number}" for number in range(queries)]
    return {**header, "gold": gold, "uids": uids, "answers": answers, "cost": cost}


RIGHT = {"random": 2, "bm25": 4, "nearest": 5, "epr": 9, "majority": 5, "label-vote": 6, "logreg": 7}
RIGHT["epr: label vote"] = 8


def test_tables_hold_means_over_seeds_and_paired_differences() -> None:
    """Guards means over the wrong axis, and differences of the wrong sign or pairing."""
    found = {"trec6": [study("trec6", 0, RIGHT), study("trec6", 1, RIGHT | {"epr": 7, "bm25": 6})]}
    found["sst2"] = [study("sst2", 0, RIGHT | {"epr": 10})]
    table = tables.accuracy_table(found)
    assert table[0].split(" | ")[:6] == ["| task", "seeds x queries", "random", "bm25", "nearest", "epr"]
    assert table[2].startswith("| trec6 | 2 x 10 | 20.0 | 50.0 | 50.0 | 80.0 | 50.0 | 60.0 | 70.0 | 80.0 |")
    assert table[4].startswith("| **mean** | | **20.0** | **45.0** | **50.0** | **90.0** |")
    differences = tables.difference_table(found)
    assert "| trec6 | +60.0 [" in differences[2]
    assert differences[4].startswith("| **all queries** | +66.7 [")
    assert tables.cost_table(found)[2] == "| trec6 | 100 | 50 | 1.0 | 1.0 | 100 | 1.0 |"


def test_an_unfinished_study_is_left_out(tmp_path: Path) -> None:
    """Guards a table over methods that have answered different queries."""
    whole = study("trec6", 0, RIGHT)
    half = study("trec6", 1, {name: count for name, count in RIGHT.items() if name != "random"})
    stale = study("trec6", 2, RIGHT) | {"config": {"mining": {}}}  # trained with other settings, and not again yet
    for one in (whole, half, stale):
        (tmp_path / f"{one['task']}-{one['seed']}.json").write_text(epr_study.json.dumps(one))
    assert outcomes.read_studies(tmp_path) == {"trec6": [whole]}
    longer = {name: [*given, "yes"] if name != "random" else given for name, given in whole["answers"].items()}
    (tmp_path / "trec6-0.json").write_text(
        epr_study.json.dumps(
            whole | {"answers": longer, "gold": [*whole["gold"], "no"], "uids": [*whole["uids"], "more"]}
        )
    )
    assert outcomes.read_studies(tmp_path) == {"trec6": [whole]}


def test_the_search_table_says_what_was_left_out() -> None:
    """Guards against a table with a gap that nobody explains."""
    whole = {"rows": 1000, "kind": "exact", **dict.fromkeys(COLUMNS, 1.0)}
    gap = {"rows": 2000, "kind": "hnsw", "left_out": "left out: building would take long"}
    table = tables.search_table({"cells": [whole, gap]})
    assert table[2].startswith("| 1,000 | exact | 1.0 | 1 | 1.0000 |")
    assert table[3].startswith("| 2,000 | hnsw | - |")
    assert table[5] == "2,000 hnsw: left out: building would take long."


def test_a_stopped_study_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against asking again what is in the result file, in a longer run too, and losing a stage that is done."""
    task = Task.load("rotten-tomatoes")
    monkeypatch.setattr(studied_tasks.Task, "load", lambda *_, **__: task)
    done: list[str] = []
    places = {"work": tmp_path / "work", "out": tmp_path / "out"}
    first = Study("rotten-tomatoes", 0, limit=3, **places)
    first._answer("majority", lambda queries: done.append("majority") or ["fresh"] * len(queries))
    longer = Study("rotten-tomatoes", 0, limit=5, **places)
    longer._answer("majority", lambda queries: done.append(f"{len(queries)} more") or ["rotten"] * len(queries))
    again = Study("rotten-tomatoes", 0, limit=5, **places)
    again._answer("majority", lambda queries: pytest.fail("asked again"))
    assert again.result["answers"]["majority"] == ["fresh"] * 3 + ["rotten"] * 2
    assert again.result["gold"] == [query.label for query in task.test[:5]]
    assert again.result["uids"] == [query.uid for query in task.test[:5]]
    monkeypatch.setattr(Study, "_train", lambda *_: None)
    monkeypatch.setattr(Study, "_answer", lambda self, name, _: done.append(name))
    monkeypatch.setattr(epr_study, "mine_candidates", lambda workspace, out, **_: out.mkdir(parents=True))
    again.run()
    assert done == ["majority", "2 more", *epr_study.REFERENCES, "epr", "nearest", "bm25", "random"]
    monkeypatch.setattr(epr_study, "mine_candidates", lambda *_, **__: pytest.fail("mined again"))
    Study("rotten-tomatoes", 0, limit=5, **places).run()
    with pytest.raises(UsageError, match="measured in float32"):
        Study("rotten-tomatoes", 0, limit=5, **places, dtype="bfloat16")


def test_what_was_made_otherwise_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards figures of one recipe under the name of another, and a fresh clone that has results but no folders."""
    task = Task.load("rotten-tomatoes")
    monkeypatch.setattr(studied_tasks.Task, "load", lambda *_, **__: task)
    study = Study("rotten-tomatoes", 0, limit=3, work=tmp_path / "work", out=tmp_path / "out")
    folder, spent = tmp_path / "folder", {"seconds": 9.0, "tokens": 1, "tokens_computed": 1}
    folder.mkdir()
    study.result["cost"]["mining"] = dict(spent)
    study._finish("mining", {"candidates": 8})
    assert study._is_done("mining", folder, {"candidates": 8})
    folder.rmdir()
    assert not study._is_done("mining", folder, {"candidates": 8})
    kept = json.loads(study.path.read_text())
    assert "mining" not in kept["cost"] | kept["config"]  # a kill while it is made again leaves no claim
    folder.mkdir()
    study._finish("mining", {"candidates": 8})
    assert not study._is_done("mining", folder, {"candidates": 9})
    assert not folder.exists()


def test_what_an_interrupted_stage_has_spent_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards a cost that is that of the last process alone."""
    task = Task.load("rotten-tomatoes")
    monkeypatch.setattr(studied_tasks.Task, "load", lambda *_, **__: task)
    study = Study("rotten-tomatoes", 0, limit=3, work=tmp_path / "work", out=tmp_path / "out")
    with pytest.raises(KeyboardInterrupt), study._spending("mining"):
        raise KeyboardInterrupt
    kept = json.loads(study.path.read_text())
    assert "mining" in kept["cost"]
    assert "mining" not in kept["config"]


def test_the_documentation_shows_the_result_files() -> None:
    """Guards against numbers in the documentation that no result file holds."""
    assert tables.page() == tables.PAGE.read_text(encoding="utf-8")
    shown, drawn = tables.front_page()
    assert shown == tables.README.read_text(encoding="utf-8")
    assert drawn == tables.PICTURE.read_text(encoding="utf-8")


def test_lists_mined_anew_forget_the_retriever_of_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards a kill while mining again, after which the retriever of the old lists counted as trained on the new."""
    task = Task.load("rotten-tomatoes")
    monkeypatch.setattr(studied_tasks.Task, "load", lambda *_, **__: task)
    study = Study("rotten-tomatoes", 0, limit=3, work=tmp_path / "work", out=tmp_path / "out")
    study._finish("training epr", {"seed": 0})

    def killed(*_: object, **__: object) -> None:
        assert "training epr" not in json.loads(study.path.read_text())["config"]
        raise KeyboardInterrupt

    monkeypatch.setattr(epr_study, "mine_candidates", killed)
    with pytest.raises(KeyboardInterrupt):
        study.run()


def test_defaults_of_another_recipe_are_not_taken_from_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the figures of an old recipe under the name of today's."""
    metrics = {f"{name}_{when}": 0.5 for name in (epr_recipes.VOTE, epr_recipes.SHARE) for when in ("before", "after")}
    config = RetrieverTrainingConfig(seed=0, max_seq_length=epr_study.LONGEST)
    study = {"metrics": {"epr": metrics}, "cost": {"training epr": {"seconds": 9.0}}}
    file = tmp_path / "results" / "epr" / "rotten-tomatoes-0.json"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(epr_recipes, "HERE", tmp_path)
    task = Task.load("rotten-tomatoes")
    monkeypatch.setattr(epr_recipes.Task, "load", lambda *_, **__: task)
    trained: list[object] = []
    monkeypatch.setattr(epr_recipes, "train_retriever_on", lambda *_, **given: trained.append(given["config"]))
    monkeypatch.setattr(epr_recipes, "read_retriever_card", lambda _: SimpleNamespace(metrics=metrics))
    for own, times in ((asdict(config), 0), (asdict(config) | {"unscored": 900}, 1)):
        file.write_text(json.dumps(study | {"config": {"training epr": own}}))
        assert epr_recipes.measure("rotten-tomatoes", 0, "defaults", work=tmp_path)["after"] == 0.5
        assert len(trained) == times


def test_recipes_are_laid_out_by_task() -> None:
    """Guards a mean over the tasks that happen to be measured, which would flatter a recipe that lacks a hard one."""
    cell = {"seed": 0, "before": 0.5, "seconds": 60.0}
    cells = [cell | {"task": task, "recipe": "defaults", "after": after} for task, after in (("a", 0.9), ("b", 0.7))]
    cells.append(cell | {"task": "a", "recipe": "other", "after": 0.95})
    table = tables.recipe_table(cells)
    assert table[0] == "| recipe | a | b | mean | minutes of training |"
    assert table[2] == "| not trained | 50.0 | 50.0 | 50.0 | 0 |"
    assert table[3] == "| defaults | 90.0 | 70.0 | 80.0 | 1.0 |"
    assert table[4] == "| other | 95.0 | - | - | 1.0 |"


def test_speeds_are_laid_out_by_step_and_token() -> None:
    """Guards rates that are divided the wrong way round."""
    speed = {"p50_ms": 4.0, "p99_ms": 6.0}
    choosing = dict.fromkeys(("encoder left out", "encoder alone", "encoder included"), speed)
    run = {"steps": 100.0, "one_at_a_time_seconds": 20.0, "one_at_a_time_tokens_computed": 4000.0}
    run |= {"vectorised_seconds": 10.0, "vectorised_tokens_computed": 3000.0, "ratio": 2.0}
    lines = policy_tables.policy_lines(
        {"choosing": {**choosing, "queries_per_second": {"8": 157.1}}, "stepping": [run]}
    )
    assert "| encoder alone | 4.0 | 6.0 |" in lines
    assert "| 8 | 157 |" in lines
    assert "| 1 | 5.0 | 200 | 10.0 | 300 | 2.0 |" in lines


def test_both_ways_of_stepping_ask_for_the_same_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards a ratio between two ways that do different work."""
    asked: dict[str, set[tuple[int, tuple[int, ...]]]] = {}
    problem, _ = planted_problem(seed=0)
    judged, current = problem.scorer.potentials, [""]

    def potentials(numbers: Any, selections: Any) -> Any:
        asked.setdefault(current[0], set()).update(
            (int(number), own.indices) for number, own in zip(numbers, selections, strict=True)
        )
        return judged(numbers, selections)

    monkeypatch.setattr(problem.scorer, "potentials", potentials, raising=False)
    monkeypatch.setattr(policy_speed, "COPIES", 4)
    rng, config = np.random.default_rng(0), problem.config
    plans = np.stack([rng.permutation(config.size)[: config.shots] for _ in range(8)])
    for name, play in (("one", policy_speed._one_at_a_time), ("many", policy_speed._vectorised)):
        current[0] = name
        play(problem, plans)
    full = {name: {pair for pair in pairs if len(pair[1]) == config.shots} for name, pairs in asked.items()}
    assert full["one"] == full["many"]
    assert len(full["one"]) == 8


def test_measured_recipes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against training again what an earlier run has measured."""
    asked: list[tuple[str, str]] = []

    def measured(name: str, seed: int, recipe: str, *, work: Path) -> dict[str, Any]:
        asked.append((name, recipe))
        return {"task": name, "seed": seed, "recipe": recipe, "before": 0.5, "after": 0.6, "seconds": 1.0}

    monkeypatch.setattr(epr_recipes, "measure", measured)
    given = {"seeds": "0", "work": tmp_path, "out": tmp_path / "recipes.json"}
    epr_recipes.main(tasks="a", recipes="defaults;two encoders", **given)
    epr_recipes.main(tasks="a,b", recipes="defaults;two encoders", **given)
    assert asked == [("a", "defaults"), ("a", "two encoders"), ("b", "defaults"), ("b", "two encoders")]
