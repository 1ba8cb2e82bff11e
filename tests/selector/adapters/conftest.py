"""A multiple-choice task and a retriever, which takes any pool, for the tests of several adapters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from selector.strategies.retriever import RetrieverCard, write_retriever_card
from selector.testing import planted_examples


@pytest.fixture
def retriever(tiny_encoder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "retriever"
    shutil.copytree(tiny_encoder, folder)
    write_retriever_card(folder, RetrieverCard("tiny", "pool", "template", "lm"))
    return folder


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
