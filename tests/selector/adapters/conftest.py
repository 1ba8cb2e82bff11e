"""A multiple-choice task and a retriever, which takes any pool, for the tests of several adapters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selector.testing import planted_examples


@pytest.fixture
def choice_task(planted_task: Path, tmp_path: Path) -> Path:
    """The planted task with its two labels as choices of every row, shown with letters."""
    rows = [
        {**one.fields, "options": ["fresh", "rotten"], "label": ["fresh", "rotten"].index(str(one.label))}
        for one in planted_examples(60)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    document = planted_task.read_text(encoding="utf-8").partition("[prompt]")[0]
    document += 'choices = ["options"]\n[prompt]\ntemplate = "Review: {text}\\n{choices}\\nAnswer:{label}"\n'
    path = tmp_path / "choices.toml"
    path.write_text(document, encoding="utf-8")
    return path
