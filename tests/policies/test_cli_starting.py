"""Tests of `shotsmith init`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from policies.cli import app
from selector.data.task import Task
from selector.testing import planted_examples


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data" / "reviews.csv"
    path.parent.mkdir()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review", "verdict"])
        writer.writerows([one.uid, one.fields["text"], one.label] for one in planted_examples(40))
    return path


def test_init_writes_a_task_and_says_why(data: Path) -> None:
    """Guards the first command of a new user: the file loads, and the reasons and the prompt are shown."""
    result = run("init", "data/reviews.csv")
    assert result.exit_code == 0, result.output
    task = Task.load("TASK.toml")
    assert task.template.input_fields == ("review",)
    for shown in ("label: verdict, because", "inputs: review", "wrote TASK.toml", "    Review: ", "Verdict: "):
        assert shown in result.stdout
    assert len(result.stdout.splitlines()) < 20


def test_init_keeps_the_file_that_is_there(data: Path) -> None:
    """Guards a task file that was corrected by hand."""
    Path("TASK.toml").write_text("mine")
    result = run("init", data)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert Path("TASK.toml").read_text() == "mine"
    assert run("init", data, "--force").exit_code == 0
    assert Task.load("TASK.toml").pool


def test_init_takes_what_is_known_and_prints_json(data: Path) -> None:
    """Guards programs that call it, a task file in another folder, and named columns."""
    result = run("init", data, "--out", "tasks/mine.toml", "--label", "verdict", "--inputs", "review", "--json")
    made = json.loads(result.stdout)
    assert made["document"]["data"]["train"] == "../data/reviews.csv"
    assert made["reasons"][0] == "label: verdict, because you named it"
    assert made["prompt"].endswith("Verdict:")
    assert Task.load(made["task"]).name == "mine"


def test_init_names_what_is_wrong_in_one_line(data: Path) -> None:
    """Guards against a traceback at the first contact."""
    for arguments, fragment in (
        (("absent.csv",), "no file"),
        ((data, "--label", "mood"), "no column 'mood'"),
        ((data, "--inputs", "words"), "--inputs names 'words'"),
    ):
        result = run("init", *arguments)
        assert result.exit_code == 2
        assert fragment in result.stderr
        assert "Traceback" not in result.output
    assert not Path("TASK.toml").exists()
