"""Tests of the examples: each is short and runs against the real framework with an exported policy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selector.adapters.source import DemonstrationSource
from selector.testing import planted_examples

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TEXT = planted_examples(1, seed=3, prefix="query")[0].fields["text"]


def run(program: str, *arguments: object, cache: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / program), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SHOTSMITH_CACHE": str(cache), "PYTHONPATH": str(EXAMPLES.parent)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", ["langchain_prompt.py", "dspy_program.py", "haystack_pipeline.py"])
def test_an_example_shows_what_the_policy_chose(
    program: str, planted_policy: Path, planted_task: Path, tmp_path: Path
) -> None:
    """Guards the programs that people copy: they run without a warning, and show the demonstrations in prompt order."""
    shown = run(program, planted_policy, planted_task, TEXT, cache=tmp_path)
    chosen = DemonstrationSource.load(planted_policy, planted_task).rows([{"text": TEXT}], 3)[0]
    places = [shown.index(text) for text in [*(row["text"] for row in chosen), TEXT]]
    assert places == sorted(places)


def test_the_classifier_example_answers(planted_policy: Path, planted_task: Path, tmp_path: Path) -> None:
    """Guards the scikit-learn program: a grid over the policy's shots, and answers to the test rows."""
    first, second = run("sklearn_classifier.py", planted_policy, planted_task, cache=tmp_path).splitlines()
    assert first in {"best k: 1", "best k: 2"}
    assert 0 <= float(second.removeprefix("accuracy: ")) <= 1


def test_examples_are_short() -> None:
    """Guards the promise of at most 20 lines."""
    programs = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")}
    assert len(programs) >= 4
    assert max(programs.values()) <= 20, programs
