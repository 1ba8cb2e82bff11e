"""Tests of the benchmark of neighbours on a few texts; nothing here asserts a speed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import neighbours, tables
from benchmarks.peers.stopwatch import read_job, timed, write_answer
from selector.errors import DataFileError, UsageError
from selector.testing import ToyEncoder


def data(folder: Path, rows: int = 12) -> Path:
    """The benchmark's data sets, small; the first text of each stands in the one before, in capitals."""
    for number, name in enumerate(neighbours.TASKS):
        (folder / name).mkdir(parents=True)
        for part in ("train", "test"):
            texts = [f"{part} {name} text number {at} about {at % 3}" for at in range(rows)]
            if number:
                texts[0] = f"{part} {neighbours.TASKS[number - 1]} text number 1 about 1".upper()
            lines = [json.dumps({"text": text}) for text in texts]
            (folder / name / f"{part}.jsonl").write_text("\n".join(lines))
    return folder


def job(tmp_path: Path) -> dict[str, Any]:
    pool, queries = neighbours.read_texts(data(tmp_path / "data"), pool=40, queries=8)
    encode = ToyEncoder().encode
    np.savez(tmp_path / "vectors.npz", pool=encode(pool), queries=encode(queries))
    common = {"k": 3, "shortlist": 6, "encoder": None, "slow": 2}
    return {"pool": pool, "queries": queries, "vectors": str(tmp_path / "vectors.npz"), **common}


def test_texts_are_distinct_and_queries_come_from_every_set(tmp_path: Path) -> None:
    """Guards the comparison: of two equal texts each library may take either."""
    pool, queries = neighbours.read_texts(data(tmp_path), pool=40, queries=8)
    assert (len(pool), len(queries)) == (40, 8)
    assert len({text.lower() for text in [*pool, *queries]}) == 48
    assert [sum(f" {name} " in text for text in queries) for name in neighbours.TASKS] == [2, 2, 2, 2]
    with pytest.raises(DataFileError, match="45 texts"):
        neighbours.read_texts(tmp_path, pool=60, queries=8)


def test_a_stopwatch_asks_every_query_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Guards times of what was known already, and answers that belong to other queries."""
    asked: list[str] = []

    def one(text: str) -> list[int]:
        asked.append(text)
        return [len(text)]

    times = timed(one, lambda texts: [one(text) for text in texts], ["a", "bb", "ccc", "dddd", "eeeee"])
    assert asked[1:] == ["a", "bb", "ccc", "dddd", "eeeee"]
    assert times["found"] == [[1], [2], [3], [4], [5]]
    assert len(times["single_ms"]) == 2
    assert times["batch_ms"] >= 0
    question, answer = tmp_path / "job.json", tmp_path / "answer.json"
    question.write_text('{"k": 4}')
    monkeypatch.setattr(sys, "argv", ["program", str(question), str(answer)])
    assert read_job() == {"k": 4}
    write_answer({"nearest": times})
    assert json.loads(answer.read_text())["nearest"]["found"] == times["found"]


def test_ours_find_the_nearest(tmp_path: Path) -> None:
    """Guards the order that peers are compared in, nearest first, alone and in the batch."""
    asked = job(tmp_path)
    answer = neighbours.answer_ours(asked)
    assert set(answer) == {"nearest", "mmr"}
    vectors = np.load(asked["vectors"])
    products = vectors["queries"] @ vectors["pool"].T
    for found, own in zip(answer["nearest"]["found"], products, strict=True):
        assert own[found] == pytest.approx(np.sort(own)[::-1][:3], abs=1e-6)


def test_other_neighbours_are_counted_and_ties_are_not() -> None:
    """Guards the claim that the same was found."""
    rows = np.eye(4, dtype=np.float32)
    rows[3] = rows[1]
    queries = np.array([[0, 1, 0, 0], [1, 0.5, 0, 0]], dtype=np.float32)
    same = neighbours.disagreement([[1], [0, 1]], [[3], [0, 3]], rows, queries)
    other = neighbours.disagreement([[1], [0, 1]], [[1], [1, 0]], rows, queries)
    short = neighbours.disagreement([[1], [0, 1]], [[1], [0]], rows, queries)
    assert (same, other, short) == (0, 1, 1)


def test_rounds_are_pooled_and_laid_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards medians over all rounds, the library that is compared with, and a failure that nobody sees."""
    asked = job(tmp_path)
    told: list[str] = []

    def ask(library: str, _: object) -> dict[str, Any]:
        told.append(library)
        found = [[0]] * 8 if library == "shotsmith" else [[1]] * 2
        way = "nearest" if library == "shotsmith" else "nearest, another store"
        return {way: {"found": found, "single_ms": [1.0, 2.0, 9.0], "batch_ms": float(len(told))}}

    with monkeypatch.context() as patch:
        patch.setattr(neighbours, "ask", ask)
        result = neighbours.measured(asked, ["shotsmith", "dspy"], rounds=3)
    assert told == ["shotsmith", "dspy", "dspy", "shotsmith", "shotsmith", "dspy"]
    assert result["shotsmith: nearest"] == {
        "p50_ms": 2.0,
        "p99_ms": 9.0,
        "batch_ms": 4.0,
        "asked": 8,
        "different": 0,
    }
    assert result["dspy: nearest, another store"]["asked"] == 2
    lines = tables.neighbour_lines({"search": result, "embedding": result})
    assert "| shotsmith: nearest | 2.00 | 9.00 | 4.00 | 8 | 0 |" in lines
    monkeypatch.setattr(neighbours, "ENVIRONMENTS", tmp_path)
    python = tmp_path / "dspy" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setitem(neighbours.PROGRAMS, "dspy", "absent.py")
    with pytest.raises(UsageError, match=r"dspy failed: .*make bench-peers"):
        neighbours.ask("dspy", asked)


def test_the_page_holds_what_was_measured() -> None:
    """Guards docs/results.md against a result that was measured again, or a table that was edited by hand."""
    lines = tables.neighbour_lines(json.loads(tables.NEIGHBOURS.read_text("utf-8")))
    assert "\n".join(lines) in tables.PAGE.read_text("utf-8")
