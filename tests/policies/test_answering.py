"""Tests of the options of select and predict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from policies.cli import app
from policies.cli.answering import loaded_policy
from selector.inference.engine import InferenceEngine
from selector.strategies import exported, named
from selector.testing import ToyEncoder, ToyLanguageModel, planted_template
from selector.workspace import Workspace

QUERY = ("--text", "text=the plot is superb and warm")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_select_offers_as_many_candidates_as_it_is_told(planted_task: Path, planted_policy: Path) -> None:
    """Guards the options: with as many candidates as shots nothing is left to choose but the order."""
    common = ("--task", planted_task, *QUERY, "--artifact", planted_policy, "--shots", 2, "--json")
    narrow = run("select", *common, "--shortlist", 2, "--beams", 2)
    assert narrow.exit_code == 0, narrow.output
    nearest = run("predict", "--task", planted_task, *QUERY, "--method", "nearest", "--shots", 2, "--json")
    [wanted], [found] = json.loads(nearest.stdout), json.loads(narrow.stdout)
    assert {one["uid"] for one in found["demonstrations"]} == set(wanted["demonstrations"])
    assert run("select", *common, "--shortlist", 0).exit_code == 2


def test_predict_follows_beams(planted_task: Path, planted_policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the option on its way to the policy, and against a method that ignores it."""
    asked: list[dict[str, Any]] = []
    load = exported.load_policy
    monkeypatch.setattr(
        exported, "load_policy", lambda *found, **options: asked.append(options) or load(*found, **options)
    )
    common = ("predict", "--task", planted_task, *QUERY, "--shots", 2, "--beams", 3)
    done = run(*common, "--artifact", planted_policy, "--force", "--quiet")
    assert done.exit_code == 0, done.output
    assert [options["beams"] for options in asked] == [3]
    refused = run(*common, "--method", "nearest")
    assert (refused.exit_code, "--beams 3" in refused.stderr) == (2, True)


def test_a_policy_that_is_forced_on_another_task_is_told_its_queries(
    planted_task: Path, planted_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a per-corpus policy: the queries that it was trained on stood for every other task too."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(exported, "load_policy", lambda *_, **options: asked.append(options))
    own = Workspace.open(planted_task)
    loaded_policy(own, planted_policy, force=True)
    other = Workspace.open(planted_task)
    object.__setattr__(other.task, "pool", type(own.task.pool)(list(own.task.pool)[1:]))
    loaded_policy(other, planted_policy, force=False)
    loaded_policy(other, planted_policy, force=True)
    object.__setattr__(other.task, "reward", ())
    loaded_policy(other, planted_policy, force=True)
    assert [options["task_queries"] for options in asked] == [(), (), own.task.reward, own.task.dev]


def test_compare_tells_a_policy_of_another_task_the_same_queries(
    planted_task: Path, planted_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a comparison that measures another prompt than `predict --force` shows."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(named, "load_learned", lambda *_, **options: asked.append(options))
    workspace = Workspace.open(planted_task)
    task, engine = workspace.task, InferenceEngine(ToyLanguageModel(), planted_template(), workspace.task.pool)
    other = replace(task, pool=task.pool.subset(range(1, len(task.pool))))
    for own, force in ((task, True), (other, False), (other, True)):
        named.build_selector(str(planted_policy), engine=engine, encoder=ToyEncoder(), dev=(), task=own, force=force)
    assert [options["task_queries"] for options in asked] == [(), (), task.reward]


def test_markup_in_a_uid_is_text(planted_task: Path, planted_policy: Path, tmp_path: Path) -> None:
    """Guards against a traceback out of the terminal's markup."""
    rows = (planted_task.parent / "train.jsonl").read_text(encoding="utf-8").splitlines()
    named = [json.dumps(json.loads(row) | {"id": f"[/doc{number}]"}) for number, row in enumerate(rows)]
    (tmp_path / "train.jsonl").write_text("\n".join(named), encoding="utf-8")
    task = tmp_path / "task.toml"
    task.write_text(planted_task.read_text(encoding="utf-8").replace("[fields]", '[fields]\nuid = "id"'), "utf-8")
    shown = run("select", "--task", task, "--artifact", planted_policy, "--force", "--quiet", *QUERY)
    assert shown.exit_code == 0, shown.output
    assert "([/doc" in shown.stdout


def test_a_policy_chooses_as_many_as_it_was_trained_for(planted_task: Path, planted_policy: Path) -> None:
    """Guards the default: 4 whatever the policy, so that a policy of one prompt never showed its prompt."""
    common = ("--task", planted_task, *QUERY, "--json")
    [chosen] = json.loads(run("select", *common, "--artifact", planted_policy).stdout)
    assert len(chosen["demonstrations"]) == 2
    more = run("select", *common, "--artifact", planted_policy, "--shots", 3)
    assert len(json.loads(more.stdout)[0]["demonstrations"]) == 3
    assert "trained to choose 2 demonstrations; 3 are asked for" in more.stderr
    assert run("select", *common, "--artifact", planted_policy, "--shots", 3, "--quiet").stderr == ""
    [answer] = json.loads(run("predict", *common, "--artifact", planted_policy, "--force", "--quiet").stdout)
    assert len(answer["demonstrations"]) == 2
    [answer] = json.loads(run("predict", *common, "--method", "nearest", "--quiet").stdout)
    assert len(answer["demonstrations"]) == 4


def test_a_folder_of_another_kind_is_called_what_it_is(
    planted_task: Path, planted_policy: Path, tmp_path: Path
) -> None:
    """Guards users who pass a run, a retriever or mined candidates for an artifact: they were told it was damaged."""
    for file, kind in (
        ("run.json", "a run"),
        ("shotsmith.json", "a trained retriever"),
        ("mining.json", "a folder of mined candidates"),
    ):
        folder = tmp_path / file.partition(".")[0]
        folder.mkdir()
        (folder / file).write_text("{}")
        refused = run("select", "--task", planted_task, *QUERY, "--artifact", folder)
        assert (refused.exit_code, f", which is {kind};" in refused.stderr) == (1, True)
    exported_again = run("export", planted_policy, "--out", tmp_path / "again")
    assert "is an exported policy" in exported_again.stderr
    mined = run("mine", "--task", planted_task, "--out", planted_policy)
    assert (mined.exit_code, "a folder of its own" in mined.stderr) == (2, True)
