"""Tests of the run over all presets, on fakes: a stopped run goes on, and the table says what the file holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import presets as smoke
from benchmarks import tables
from selector.data.presets import Preset, preset_named
from selector.testing import ToyLanguageModel

ROWS = [
    {"text": f"which is it {number}", "choices": ["left side", "right side"], "answer": number % 2}
    for number in range(40)
]


@pytest.fixture
def chosen(tmp_path: Path) -> list[Preset]:
    """Two presets of unlike kinds, of which one has rows: those of a planted copa."""
    rows = [{"premise": row["text"], "question": "cause", **row} for row in ROWS * 3]
    (tmp_path / "copa").mkdir()
    for split, own in (("train", rows[:100]), ("test", rows[100:])):
        lines = [json.dumps(row | {"premise": f"{row['text']} {split} {at}"}) for at, row in enumerate(own)]
        (tmp_path / "copa" / f"{split}.jsonl").write_text("\n".join(lines))
    return [preset_named(name, data_dir=tmp_path) for name in ("copa", "gsm8k")]


def test_a_stopped_run_goes_on_and_a_changed_one_starts_again(chosen: list[Preset], tmp_path: Path) -> None:
    """Guards against an answer that is asked for twice, and against figures of another number of queries."""
    out, lm = tmp_path / "presets.json", ToyLanguageModel()
    result = smoke.run(chosen, lm, limit=3, out=out, data_dir=tmp_path)
    assert json.loads(out.read_text()) == result
    cell = result["presets"]["copa"]
    assert (cell["queries"], cell["chance"], list(cell["shots"])) == (3, 0.5, ["0", "1", "4"])
    assert [own["demonstrations"] for own in cell["shots"].values()] == [0, 1, 4]
    assert result["left_out"] == {"gsm8k": "its data is not found"}
    calls = lm.usage.calls
    assert smoke.run(chosen, lm, limit=3, out=out, data_dir=tmp_path) == result
    assert lm.usage.calls == calls > 0
    assert smoke.run(chosen, lm, limit=4, out=out, data_dir=tmp_path)["presets"]["copa"]["queries"] == 4
    assert lm.usage.calls > calls


def test_the_table_says_what_the_file_holds(chosen: list[Preset], tmp_path: Path) -> None:
    """Guards against columns that belong to another number of shots, and against a preset left out without a word."""
    result = smoke.run(chosen, ToyLanguageModel(), limit=2, out=tmp_path / "presets.json", data_dir=tmp_path)
    for number, own in zip((0, 1, 4), result["presets"]["copa"]["shots"].values(), strict=True):
        own |= {"right": number / 10, "gold_logprob": -float(number), "unread": 1}
    result["presets"]["copa"]["seconds"] = 7
    lines = smoke.preset_table(result)
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[2] == (
        "| copa | multiple choice | accuracy | per-token | 2 | 50 | 0 | -0.00 | 10 | -1.00 | 40 | -4.00 | 3 | 7 |"
    )
    assert lines[-1] == "gsm8k: its data is not found."


def test_the_page_has_a_place_for_the_table() -> None:
    """Guards against a table that the page cannot take in."""
    text = tables.PAGE.read_text(encoding="utf-8")
    assert text.index("<!-- presets: begin -->\n") < text.index("<!-- presets: end -->")
