"""Tests of `shotsmith tasks`, of --data-dir, and of predictions where queries have choices or answers are written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from policies.cli import app
from selector.testing import ToyEncoder, ToyLanguageModel
from selector.workspace import Workspace


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOTSMITH_DATA", raising=False)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Planted rows where the presets copa and svamp look for theirs, answered by the toy model."""
    for name in ("copa", "svamp"):
        (tmp_path / name).mkdir()
        for split, count in (("train", 400), ("test", 4)):
            rows = [
                {
                    "premise": f"the {split} fell {number}",
                    "question": f"cause {split} {number}",
                    "choices": ["it slipped", "it rained"],
                    "answer": 0 if name == "copa" else "7",
                    "rationale": "3 + 4",
                }
                for number in range(count)
            ]
            (tmp_path / name / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr("selector.workspace.load_language_model", lambda *_, **__: ToyLanguageModel())
    monkeypatch.setattr(Workspace, "encoder", None)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_tasks_lists_every_preset_and_says_how_to_find_data(data: Path) -> None:
    """Guards the first look of a newcomer: what can be named, of what kind, and what is missing."""
    result = run("tasks")
    assert result.exit_code == 0, result.output
    assert "commonsenseqa" in result.output
    assert "SHOTSMITH_DATA=DIR" in result.stderr
    assert not run("tasks", "--quiet").stderr
    listed = {entry["name"]: entry for entry in json.loads(run("--data-dir", data, "tasks", "--json").stdout)}
    assert (listed["copa"]["found"], listed["trec6"]["found"]) == (True, False)
    assert listed["gsm8k"] == {
        "name": "gsm8k",
        "kind": "reasoning",
        "description": listed["gsm8k"]["description"],
        "answers": "text, 192 tokens",
        "metric": "match of number",
        "found": False,
    }


def test_one_task_shows_its_prompt(data: Path) -> None:
    """Guards against a description without the prompt, and against markup in what is shown."""
    result = run("--data-dir", data, "tasks", "copa")
    assert result.exit_code == 0, result.output
    assert "What was the cause test" in result.output
    assert "it slipped" in result.output
    assert "{label}" in run("tasks", "trec6").output
    assert json.loads(run("tasks", "trec6", "--json").stdout)["labels"]["human"] == " human"
    unknown = run("tasks", "trec7")
    assert unknown.exit_code == 2
    assert "Traceback" not in unknown.output


def test_the_folder_is_named_for_one_command_only(data: Path) -> None:
    """Guards programs that call the command line in their own process against a variable that stays set."""
    assert run("--data-dir", data, "tasks", "copa").exit_code == 0
    assert "SHOTSMITH_DATA" not in os.environ
    missing = run("predict", "--task", "copa", "--method", "random", "--text", "premise=x")
    assert missing.exit_code == 2
    assert "--data-dir DIR" in missing.output


def test_choices_come_with_the_query(data: Path, tmp_path: Path) -> None:
    """Guards predictions for queries whose choices are in a file, or given one by one."""
    base: tuple[Any, ...] = ("--data-dir", data, "predict", "--task", "copa", "--method", "random", "--json", "--quiet")
    texts = ("--text", "premise=the cup fell", "--text", "question=cause")
    result = run(*base, *texts, "--text", "choices=it slipped", "--text", "choices=it flew")
    assert result.exit_code == 0, result.output
    (answer,) = json.loads(result.stdout)
    assert (answer["label"], list(answer["probabilities"])) == ("it slipped", ["it slipped", "it flew"])
    row = {"premise": "the cup fell", "question": "cause", "choices": ["it flew", "it slipped"]}
    (tmp_path / "queries.jsonl").write_text(json.dumps(row))
    result = run(*base, "--queries", tmp_path / "queries.jsonl")
    assert json.loads(result.stdout)[0]["label"] == "it slipped"
    without = run(*base, *texts)
    assert without.exit_code == 2
    assert "2 to 26 choices" in without.output


def test_a_comparison_needs_no_list_of_methods(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the default methods: references that need shared labels are left out where there are none."""
    monkeypatch.setattr(Workspace, "encoder", ToyEncoder())
    options = ("--shots", 1, "--seeds", 1, "--limit", 2, "--quiet", "--json", "--out", tmp_path / "out")
    result = run("--data-dir", data, "compare", "--task", "copa", *options)
    assert result.exit_code == 0, result.output
    assert {row["method"] for row in json.loads(result.stdout)["rows"]} == {"random", "bm25", "nearest"}
    refused = run("--data-dir", data, "compare", "--task", "copa", "--methods", "nearest,logreg", *options)
    assert refused.exit_code == 2
    assert "logreg" in refused.output
    assert run("--data-dir", data, "compare", "--task", "copa", "--metrics", "macro-f1", *options).exit_code == 2


def test_written_answers_are_printed_without_a_probability(data: Path) -> None:
    """Guards against a traceback for an answer that has no probability, and against a lost text."""
    base = ("--data-dir", data, "predict", "--task", "svamp", "--method", "random", "--quiet", "--text", "question=1?")
    plain = run(*base)
    assert plain.exit_code == 0, plain.output
    (answer,) = json.loads(run(*base, "--json").stdout)
    assert answer["probabilities"] == {}
    assert answer["label"] in answer["text"]
