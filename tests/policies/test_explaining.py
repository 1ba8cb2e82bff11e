"""Tests of the command that explains answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from policies.cli import app
from selector.testing import ToyLanguageModel, planted_examples
from selector.workspace import Workspace


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def task(tiny_llama: tuple[Any, Any], tmp_path: Path) -> Path:
    """A task over planted reviews and the tiny model."""
    for one in tiny_llama:
        one.save_pretrained(tmp_path / "model")  # type: ignore[attr-defined]
    lines = [json.dumps({**one.fields, "label": one.label}) for one in planted_examples(60)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    path = tmp_path / "task.toml"
    path.write_text(
        '[data]\ntrain = "train.jsonl"\ntest_size = 8\ndev_size = 6\nreward_size = 8\n[fields]\ninputs = ["text"]\n'
        'label = "label"\n[prompt]\ntemplate = "Review: {text}\\nSentiment:{label}"\n'
        f"[lm]\nmodel = {json.dumps(str(tmp_path / 'model'))}\n"
    )
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.bundled
def test_a_text_is_explained(task: Path, tmp_path: Path) -> None:
    """Guards the command from the query to table, JSON and page."""
    command = ("explain", "--task", task, "--method", "random", "--text", "text=a warm plot", "--shots", 2, "--quiet")
    plot = tmp_path / "page.html"
    result = run(*command, "--json", "--plot", plot)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (own,) = found["explanations"]
    assert (own["gold"], own["explained"]) == (False, own["predicted"])
    assert [set(one) >= {"uid", "influence", "flips", "places"} for one in own["demonstrations"]] == [True, True]
    assert len(own["attention"]["query"]) == len(found["induction"]) == 2
    assert plot.read_text().count("<svg") == 3
    shown = run(*command, "--gold", "rotten")
    assert shown.exit_code == 0, shown.output
    assert "rotten (gold)" in shown.stdout
    assert "induction heads" in shown.stdout


@pytest.mark.bundled
def test_labels_of_a_file_are_explained(task: Path, tmp_path: Path) -> None:
    """Guards files: with the task's label column the gold label is explained, without it the prediction."""
    rows = [{"text": "a dull script", "label": "rotten"}, {"text": "a funny cast", "label": "fresh"}]
    command = ("explain", "--task", task, "--method", "random", "--shots", 1, "--quiet", "--json", "--no-attention")
    for labelled in (True, False):
        file = tmp_path / "queries.jsonl"
        file.write_text("\n".join(json.dumps(row if labelled else {"text": row["text"]}) for row in rows))
        found = json.loads(run(*command, "--queries", file).stdout)
        assert [own["gold"] for own in found["explanations"]] == [labelled] * 2
        assert found["induction"] is None
    file.write_text("\n".join(json.dumps(row) for row in (rows[0], {"text": "a warm plot"})))
    mixed = run(*command, "--queries", file)
    assert [own["gold"] for own in json.loads(mixed.stdout)["explanations"]] == [False] * 2
    assert "1 rows have a label and others none" in mixed.stderr
    (tmp_path / "queries.csv").write_text("text,label\na dull script,rotten\na warm plot,\n")
    assert "1 rows have a label and others none" in run(*command, "--queries", tmp_path / "queries.csv").stderr
    task.write_text(task.read_text().replace('label = "label"', 'label = "verdict"'))
    rows_file = task.parent / "train.jsonl"
    rows_file.write_text(rows_file.read_text().replace('"label"', '"verdict"'))
    file.write_text(json.dumps({"text": "a dull script", "verdict": "rotten"}))
    assert json.loads(run(*command, "--queries", file).stdout)["explanations"][0]["gold"]
    file.write_text(json.dumps({"text": "a", "verdict": "mild"}))
    refused = run(*command, "--queries", file)
    assert (refused.exit_code, "'mild'" in refused.stderr) == (2, True)
    both = run(*command, "--queries", file, "--gold", "rotten")  # it was laid over every label of the file
    assert (both.exit_code, "--gold is given with --queries" in both.stderr) == (2, True)


def test_a_model_without_attention_is_refused_at_once(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards servers and clusters: one line that names the way out, before anything is scored."""
    lm = ToyLanguageModel()
    monkeypatch.setattr("selector.workspace.load_language_model", lambda *_, **__: lm)
    monkeypatch.setattr(Workspace, "encoder", None)
    command = ("explain", "--task", task, "--method", "random", "--text", "text=a warm plot", "--shots", 2, "--quiet")
    refused = run(*command)
    assert (refused.exit_code, lm.usage.calls) == (2, 0)
    assert "does not show its attention" in refused.stderr
    assert "--no-attention" in refused.stderr
    answered = run(*command, "--no-attention")
    assert answered.exit_code == 0, answered.output
    assert "influence" in answered.stdout


def test_choices_of_a_query_stay_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards multiple choice: a query that was given its gold label lost its choices, and no label was one of none."""
    monkeypatch.setattr("selector.workspace.load_language_model", lambda *_, **__: ToyLanguageModel())
    monkeypatch.setattr(Workspace, "encoder", None)
    rows = [
        json.dumps({"text": f"cup {number} fell", "choices": ["it slipped", f"it flew {number}"], "label": 0})
        for number in range(40)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    (tmp_path / "queries.jsonl").write_text(rows[0].replace("cup", "pan"))
    task = tmp_path / "task.toml"
    task.write_text(
        '[data]\ntrain = "train.jsonl"\ntest_size = 8\ndev_size = 6\nreward_size = 8\n[fields]\ninputs = ["text"]\n'
        'label = "label"\nchoices = ["choices"]\n[prompt]\ntemplate = "{text}:{label}"\n'
    )
    command = ("explain", "--task", task, "--method", "random", "--shots", 1, "--quiet", "--json", "--no-attention")
    texts = ("--text", "text=the pan fell", "--text", "choices=it slipped", "--text", "choices=it flew")
    for asked in (("--queries", tmp_path / "queries.jsonl"), (*texts, "--gold", "it slipped")):
        result = run(*command, *asked)
        assert result.exit_code == 0, result.output
        (own,) = json.loads(result.stdout)["explanations"]
        assert (own["gold"], own["explained"]) == (True, "it slipped")


def test_a_page_that_cannot_be_written_is_refused_at_once(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards long work against a path that turns out wrong at its end; a missing folder is made."""
    lm = ToyLanguageModel()
    monkeypatch.setattr("selector.workspace.load_language_model", lambda *_, **__: lm)
    monkeypatch.setattr(Workspace, "encoder", None)
    command = ("explain", "--task", task, "--method", "random", "--text", "text=a warm plot", "--shots", 1)
    refused = run(*command, "--no-attention", "--quiet", "--plot", task / "page.html")
    assert (refused.exit_code, lm.usage.calls, refused.stderr.count("\n")) == (1, 0, 1)
    assert "cannot be used" in refused.stderr
    plot = task.parent / "new" / "folder" / "page.html"
    done = run(*command, "--no-attention", "--quiet", "--plot", plot)
    assert done.exit_code == 0, done.output
    assert "<svg" in plot.read_text(encoding="utf-8")
