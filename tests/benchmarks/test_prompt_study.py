"""Tests of the study of prompts: every cell is measured once and fills the table, and a stopped study goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import prompt_study, tables
from benchmarks.prompt_study import CELLS, Models, PromptStudy, PromptStudyConfig, prompt_lines, read_cells
from selector.data.splits import LeakReport
from selector.data.task import Task
from selector.errors import UnknownNameError, UsageError
from selector.inference.engine import InferenceEngine
from selector.lm.config import LanguageModelConfig
from selector.retrieval.config import EncoderConfig
from selector.testing import ScriptedLanguageModel, ToyEncoder, planted_examples, planted_pool, planted_template
from selector.workspace import Workspace

CONFIG = PromptStudyConfig(queries=3, dev=6, shots=2, questions=8, samples=2)


def reply(prompt: str, seed: int) -> str:
    if prompt.endswith("was told to"):
        return f" judge the review by rule {seed}."
    if prompt.endswith('": "'):
        return f"a tale told {seed} times to {len(prompt)} people"
    return " 5" if prompt.endswith("is") else " It is 5.\n1. How? The answer is 5."


def workspace(name: str) -> Workspace:
    task = Task(
        name=name,
        pool=planted_pool(),
        reward=(),
        dev=tuple(planted_examples(6, seed=1, prefix="dev")),
        test=tuple(planted_examples(5, seed=2, prefix="test")),
        template=planted_template(),
        lm=LanguageModelConfig(),
        encoder=EncoderConfig(),
        leaks=LeakReport(),
    )
    made = Workspace(task)
    made.__dict__["engine"] = InferenceEngine(ScriptedLanguageModel(reply), task.template, task.pool)
    made.__dict__["encoder"] = ToyEncoder()
    return made


@pytest.fixture
def study(tmp_path: Path) -> PromptStudy:
    for name in prompt_study.REASONED:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for split, count in (("train", 9), ("test", 4)):
            rows = [
                {"question": f"{split} has {n} and buys 1. How many?", "answer": str(n + 1), "rationale": f"{n + 1}."}
                for n in range(4, 4 + count)
            ]
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lm = ScriptedLanguageModel(reply)
    models = Models(lm=lambda: lm, encoder=ToyEncoder, workspace=workspace)
    return PromptStudy(models, CONFIG, out=tmp_path / "out", data=tmp_path / "data")


def test_every_cell_is_measured_and_stands_in_the_table(study: PromptStudy) -> None:
    """Guards all cells: outcomes for the same queries, malformed ones, costs, differences, no rows of data sets."""
    study.run(CELLS)
    cells = read_cells(study.out)
    assert [f"{cell['task']}:{cell['thing']}" for cell in cells] == list(CELLS)
    assert all(len(right) == 3 for cell in cells for right in cell["right"].values())
    assert all(cell["usage"]["calls"] > 0 for cell in cells)
    assert all(cell["traces"] for cell in cells if cell["thing"] not in ("instructions", "templates"))
    kept = json.dumps([cell.get("traces") for cell in cells])
    rows = ["How many", *(example.fields["text"] for example in planted_examples(5, seed=2, prefix="test"))]
    assert [row for row in rows if row in kept] == []
    assert '"generation"' in kept
    lines = prompt_lines(cells)
    (direct,) = [line for line in lines if line.startswith("| gsm8k | direct |")]
    assert direct.startswith("| gsm8k | direct | 3 | 33.3 |  | 0 of 3 |")
    assert sum("vs direct" in line for line in lines) == 4 * 6
    assert sum("vs none" in line for line in lines) == 2 * (3 + 3)
    assert sum("vs the mean of all templates" in line for line in lines) == 2 * 2


def test_a_stopped_study_goes_on(study: PromptStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards finished cells: they are not measured again, and not mixed with those of other settings."""
    study.run(CELLS[:1])
    before = (study.out / f"{CELLS[0].replace(':', '-')}.json").read_bytes()

    def fails(*_: Any, **__: Any) -> Any:
        raise AssertionError("a finished cell was measured again")

    monkeypatch.setattr(study, "_labelled", fails)
    study.run(CELLS[:1])
    assert (study.out / f"{CELLS[0].replace(':', '-')}.json").read_bytes() == before
    study.config = PromptStudyConfig()
    with pytest.raises(UsageError, match="settings"):
        study.run(CELLS[:1])
    with pytest.raises(UnknownNameError, match="gsm8k:luck"):
        study.run(["gsm8k:luck"])


def test_a_stale_cell_is_measured_anew(study: PromptStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a table that mixes cells of two language models, or of data that has changed since."""
    study.run(["svamp:direct"])
    asked: list[str] = []
    whole = study._reasoned
    monkeypatch.setattr(study, "_reasoned", lambda task, method: asked.append(method) or whole(task, method))
    study.run(["svamp:direct"])
    assert not asked
    file = study.data / "svamp" / "train.jsonl"
    file.write_text(file.read_text().replace("buys", "sells"))
    study.run(["svamp:direct"])
    monkeypatch.setattr(ScriptedLanguageModel, "fingerprint", "scripted-2")
    study.run(["svamp:direct"])
    assert asked == ["direct", "direct"]
    assert read_cells(study.out)[0]["lm"] == "scripted-2"


def test_a_cell_without_its_absence_stands_alone(study: PromptStudy) -> None:
    """Guards a table made before the direct answers were measured."""
    study.run(["svamp:cot"])
    assert "vs" not in "".join(prompt_lines(read_cells(study.out))[2:])


def test_the_page_has_a_place_for_the_table() -> None:
    """Guards the marks between which the table is written."""
    text = tables.PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- prompts: begin -->\n") == text.count("<!-- prompts: end -->") == 1
