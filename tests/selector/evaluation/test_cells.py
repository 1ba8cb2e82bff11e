"""Tests of cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.errors import UsageError
from selector.evaluation.cells import CellFolder, examples_fingerprint, folder_fingerprint
from selector.evaluation.compare import Comparison, Method, Reference, compare
from selector.evaluation.metered import PhaseUsage
from selector.evaluation.runs import QueryOutcome, Row
from selector.inference.engine import InferenceEngine
from selector.lm.base import Usage
from selector.pipeline import Pipeline
from selector.strategies.random import RandomSelector
from selector.strategies.zero import ZeroShotSelector
from selector.testing import planted_examples
from selector.types import Example

SHARED = {"task": "t", "language model": "m"}
RUN = {"method": "best/of <k>", "orderer": "given", "shots": 4, "seed": 0, "budget": None}


def row_of(probability: float = 0.25, text: str = "fresh") -> Row:
    outcome = QueryOutcome(f"q {text}", text, "rotten", ("a", text), {text: probability, "": 1 - probability})
    phases = PhaseUsage(Usage(3, 20, 10, 1), Usage(2, 9, 9), Usage(1, 5, 4))
    return Row("best/of <k>", "given", 4, 0, (outcome, replace(outcome, free_text=True)), phases, 0.125)


@settings(deadline=None, max_examples=40)
@given(probability=st.floats(0, 1), text=st.text())
def test_a_run_comes_back_as_it_was(probability: float, text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Guards a resumed comparison against results that differ from an uninterrupted one in a digit or a character."""
    folder, row = tmp_path_factory.mktemp("out") / "cells", row_of(probability, text.encode(errors="ignore").decode())
    cells = CellFolder(folder, depends_on=SHARED)
    assert cells.recall(RUN) is None
    cells.keep(RUN, row)
    assert CellFolder(folder, depends_on=SHARED).recall(RUN) == row
    assert [path.suffix for path in folder.iterdir()] == [".json"]


def test_a_run_is_recalled_only_where_all_is_the_same(tmp_path: Path) -> None:
    """Guards against old runs of another task, model, seed or budget among new ones."""
    CellFolder(tmp_path, depends_on=SHARED).keep(RUN, row_of())
    for name in SHARED:
        assert CellFolder(tmp_path, depends_on=SHARED | {name: "other"}).recall(RUN) is None
    for name, other in (("method", "best_of_k"), ("orderer", "mdl"), ("shots", 8), ("seed", 1), ("budget", 9)):
        assert CellFolder(tmp_path, depends_on=SHARED).recall(RUN | {name: other}) is None
    assert CellFolder(tmp_path, depends_on=SHARED).recall(RUN) == row_of()


def test_a_file_under_the_name_of_another_run_is_not_taken_for_it(tmp_path: Path) -> None:
    """Guards against trusting the digest in a name: files are copied and renamed by people."""
    cells = CellFolder(tmp_path, depends_on=SHARED)
    cells.keep(RUN, row_of())
    [first] = tmp_path.iterdir()
    cells.keep(RUN | {"seed": 1}, row_of())
    [second] = set(tmp_path.iterdir()) - {first}
    first.replace(second)
    assert CellFolder(tmp_path, depends_on=SHARED).recall(RUN | {"seed": 1}) is None


def test_a_damaged_run_is_made_again(tmp_path: Path) -> None:
    """Guards against a traceback, or half a run, where a disk lost the end of a file."""
    CellFolder(tmp_path, depends_on=SHARED).keep(RUN, row_of())
    [path] = tmp_path.iterdir()
    whole = path.read_text()
    for text in (whole[: len(whole) // 2], "[]", '{"depends_on": {}}', ""):
        path.write_text(text)
        assert CellFolder(tmp_path, depends_on=SHARED).recall(RUN) is None


def test_starting_afresh_deletes_what_was_there(tmp_path: Path) -> None:
    """Guards --no-resume: a later interruption must not bring runs back that were to be forgotten."""
    CellFolder(tmp_path, depends_on=SHARED).keep(RUN, row_of())
    assert CellFolder(tmp_path, depends_on=SHARED, resume=False).recall(RUN) is None
    assert CellFolder(tmp_path, depends_on=SHARED).recall(RUN) is None


def test_counts_tell_old_runs_from_new_ones(tmp_path: Path) -> None:
    """Guards what users are told: a run that serves several numbers of shots was not finished by an earlier call."""
    cells = CellFolder(tmp_path, depends_on=SHARED)
    cells.keep(RUN, row_of())
    cells.recall(RUN)
    assert (cells.reused, cells.finished) == (0, 1)
    later = CellFolder(tmp_path, depends_on=SHARED)
    later.recall(RUN)
    later.recall(RUN)
    later.keep(RUN | {"seed": 1}, row_of())
    assert (later.reused, later.finished) == (1, 2)


def test_a_failure_says_what_is_kept(tmp_path: Path) -> None:
    """Guards users against starting over by hand, and an error's own text against being replaced."""
    cells = CellFolder(tmp_path, depends_on=SHARED)
    error = UsageError("a", expected="b", remedy="c")
    with pytest.raises(UsageError), cells.told_on_failure():
        raise error
    assert not hasattr(error, "__notes__")
    cells.keep(RUN, row_of())
    with pytest.raises(KeyboardInterrupt) as caught, cells.told_on_failure():
        raise KeyboardInterrupt
    assert "1 finished runs are kept" in caught.value.__notes__[0]


def test_fingerprints_follow_content_alone(tmp_path: Path) -> None:
    """Guards against a retriever that was trained anew in its old folder, and queries whose uids are line numbers."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        (folder / "encoder").mkdir(parents=True)
        (folder / "encoder" / "weights").write_bytes(b"1")
    assert folder_fingerprint(first) == folder_fingerprint(second)
    (first / "tensorboard").mkdir()
    (first / "tensorboard" / "events").write_bytes(b"loss")
    assert folder_fingerprint(first) == folder_fingerprint(second)
    (second / "encoder" / "weights").write_bytes(b"2")
    assert folder_fingerprint(first) != folder_fingerprint(second)
    (second / "encoder" / "weights").rename(second / "weights")
    (second / "weights").write_bytes(b"1")
    assert folder_fingerprint(first) != folder_fingerprint(second)
    query = Example("0", {"text": "warm"}, "fresh")
    prints = {
        examples_fingerprint([one])
        for one in (query, replace(query, label="rotten"), replace(query, fields={"text": "dull"}))
    }
    assert len(prints) == 3


class _FailsLater(RandomSelector):
    """Is interrupted at its second seed."""

    def __init__(self, engine: InferenceEngine, seed: int, *, fails: bool) -> None:
        super().__init__(engine.pool, seed=seed)
        self._fails = fails and seed == 1

    def select(self, queries, k):  # type: ignore[no-untyped-def]
        if self._fails:
            raise KeyboardInterrupt
        return super().select(queries, k)


def _compared(engine: InferenceEngine, folder: Path, *, shots: int = 2, fails: bool = False) -> Comparison:
    return compare(
        engine,
        planted_examples(12, seed=7, prefix="query"),
        methods=[
            Method("zero", lambda seed: Pipeline(ZeroShotSelector(), engine), depends_on_shots=False),
            Method("random", lambda seed: Pipeline(_FailsLater(engine, seed, fails=fails), engine), seeded=True),
        ],
        references=[Reference("majority", lambda own: ["fresh"] * len(own), depends_on_shots=False)],
        shots=shots,
        seeds=(0, 1, 2),
        baseline="zero",
        cells=CellFolder(folder, depends_on=SHARED),
    )


def _timeless(comparison: Comparison) -> tuple:
    rows = [replace(row, seconds=0.0) for row in comparison.rows]
    return rows, [replace(entry, seconds=0.0) for entry in comparison.summary], comparison.verdict


def test_an_interrupted_comparison_goes_on_to_the_same_end(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards finished work: nothing is asked twice, and nobody can tell the result from an uninterrupted one."""
    whole = _compared(engine, tmp_path / "whole")
    asked = engine.lm.usage
    with pytest.raises(KeyboardInterrupt):
        _compared(engine, tmp_path / "cut", fails=True)
    resumed = _compared(engine, tmp_path / "cut")
    assert engine.lm.usage - asked == asked  # both parts together asked as much as the whole
    assert _timeless(resumed) == _timeless(whole)
    before = engine.lm.usage
    assert _compared(engine, tmp_path / "cut") == resumed
    assert engine.lm.usage == before


def test_what_does_not_depend_on_shots_runs_once_for_all_of_them(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards a sweep against paying for zero-shot answers at every number, and against rows under another number."""
    two, four = (_compared(engine, tmp_path, shots=shots) for shots in (2, 4))
    for name in ("zero", "majority"):
        [first], [second] = two.rows_of(name), four.rows_of(name)
        assert (first.shots, second.shots) == (2, 4)
        assert second == replace(first, shots=4)
    assert len(list(tmp_path.glob("*.json"))) == 2 + 3 + 3
