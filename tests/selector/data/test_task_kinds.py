"""Tests of task files for choices, aliases, rationales and data sets in a folder that the user names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selector.data.loading import load_examples
from selector.data.task import Task
from selector.errors import InvalidExampleError, TaskFileError, TemplateError, UnknownNameError

SIZES = "test_size = 2\ndev_size = 2\nreward_size = 2"
TASK = f"""
[data]
train = "data:set/train.jsonl"
{SIZES}
[fields]
inputs = ["text"]
label = "answer"
choices = ["options"]
[prompt]
template = "Q: {{text}}\\nA:{{label}}"
"""
ROW = {"text": "which one", "options": ["left", "right"], "answer": 1, "steps": "Not left."}


def write(folder: Path, toml: str = TASK, **changes: Any) -> Path:
    (folder / "set").mkdir(exist_ok=True)
    rows = [ROW | {"text": f"which one, {number}"} | changes for number in range(12)]
    (folder / "set" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "task.toml").write_text(toml)
    return folder / "task.toml"


def test_a_number_is_the_place_of_a_choice(tmp_path: Path) -> None:
    """Guards against a label that is the text "1", which no choice has."""
    task = Task.load(write(tmp_path), data_dir=tmp_path)
    assert task.template.multiple_choice
    assert (task.pool[0].label, task.pool[0].choices) == ("right", ("left", "right"))
    assert task.choice_columns == ("options",)
    assert task.template.labels == ()
    assert Task.load(write(tmp_path, answer="left"), data_dir=tmp_path).pool[0].label == "left"


@pytest.mark.parametrize("answer", [2, -1, True, "middle", None])
def test_an_answer_that_is_no_choice_is_named(tmp_path: Path, answer: Any) -> None:
    """Guards against the last choice being taken for -1, and against a traceback."""
    with pytest.raises(InvalidExampleError, match=r"line 1, column 'answer', holds .*a number from 0 to 1"):
        Task.load(write(tmp_path, answer=answer), data_dir=tmp_path)


def test_choices_may_stand_in_columns_of_their_own(tmp_path: Path) -> None:
    """Guards CSV files, whose cells hold no lists."""
    (tmp_path / "rows.csv").write_text("text,one,two,answer\nwhich,left,right,right\n")
    (row,) = load_examples(
        tmp_path / "rows.csv", inputs=["text"], label="answer", split="train", choices=["one", "two"]
    )
    assert (row.label, row.choices, dict(row.fields)) == ("right", ("left", "right"), {"text": "which"})


def test_a_list_of_answers_is_a_label_and_its_aliases(tmp_path: Path) -> None:
    """Guards open questions against a label that is the text of a list, and against an alias that is the label."""
    toml = TASK.replace('choices = ["options"]\n', "").replace(
        "[prompt]", '[prompt]\nanswer_tokens = 4\nanswer_rule = "words"'
    )
    task = Task.load(write(tmp_path, toml, answer=["Cowslip", "Petty Mullein", "Cowslip"]), data_dir=tmp_path)
    assert (task.pool[0].label, task.pool[0].aliases) == ("Cowslip", ("Petty Mullein",))
    with pytest.raises(InvalidExampleError, match="holds \\[\\]"):
        Task.load(write(tmp_path, toml, answer=[]), data_dir=tmp_path)
    with pytest.raises(UnknownNameError, match="words"):
        Task.load(write(tmp_path, toml.replace('"words"', '"wrods"')), data_dir=tmp_path)


def test_written_choices_with_steps(tmp_path: Path) -> None:
    """Guards AQuA: its choices are shown, its steps written, and nothing is scored."""
    toml = TASK.replace("[prompt]", 'rationale = "steps"\n[prompt]\nanswer_tokens = 9\nanswer_rule = "choice"')
    toml = toml.replace("\\nA:{label}", " {choices}\\nA:{rationale} So:{label}")
    task = Task.load(write(tmp_path, toml), data_dir=tmp_path)
    assert not task.template.multiple_choice
    assert task.template.demonstration(task.pool[0]).endswith("(A) left (B) right\nA: Not left. So: right")
    with pytest.raises(InvalidExampleError, match="lacks \\['hints'\\]"):
        Task.load(write(tmp_path, toml.replace('"steps"', '"hints"')), data_dir=tmp_path)


def test_reserved_names_are_no_inputs(tmp_path: Path) -> None:
    """Guards against steps that reach the query's prompt, and the encoder, as an input."""
    for name in ("rationale", "choices"):
        with pytest.raises(TemplateError, match=name):
            Task.load(
                write(tmp_path, TASK.replace('["text"]', f'["text", "{name}"]'), **{name: "x"}), data_dir=tmp_path
            )


def test_the_folder_of_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards a preset without data: the error says how to name the folder, and the variable names it."""
    monkeypatch.delenv("SHOTSMITH_DATA", raising=False)
    with pytest.raises(TaskFileError, match="SHOTSMITH_DATA=DIR, or write shotsmith --data-dir DIR") as caught:
        Task.load(write(tmp_path))
    assert caught.value.exit_code == 2
    monkeypatch.setenv("SHOTSMITH_DATA", str(tmp_path))
    assert len(Task.load(tmp_path / "task.toml").pool) == 6
