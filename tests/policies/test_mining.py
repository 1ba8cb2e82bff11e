"""Tests of mining: what is scored, what is written, and what a killed process leaves."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies.mined import Candidate, MinedQuery, merged
from policies.mined_storage import HEADER_FILE, MINED_FILE, STORAGES, append_mined, read_mined
from policies.mining import PAIRS_PER_CALL, MiningConfig, mine, recalled
from policies.recall import build_recall
from policies.retriever_material import read_lines
from selector.data.pool import Pool
from selector.errors import (
    DataFileError,
    DiskFullError,
    EmptyPoolError,
    InvalidExampleError,
    PromptTooLongError,
    TooFewExamplesError,
    UnknownLabelError,
    UnknownNameError,
    UsageError,
)
from selector.inference.engine import InferenceEngine
from selector.strategies.dense import NearestSelector
from selector.strategies.random import RandomSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example, Query, Selection

CONFIG = MiningConfig(candidates=6, query_limit=None)


class Stop(Exception):  # noqa: N818
    """Stands for a kill at a moment of the test's choosing."""


class StoppingSelector:
    """Recalls like another selector and stops after some calls."""

    def __init__(self, selector: NearestSelector, calls: int) -> None:
        self._selector = selector
        self._calls = calls
        self.encoder = selector.encoder

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        if not self._calls:
            raise Stop
        self._calls -= 1
        return self._selector.select(queries, k)


StoppingSelector.__name__ = "NearestSelector"  # the header names the kind of selector


@pytest.fixture
def big() -> InferenceEngine:
    """An engine whose pool takes several language-model calls."""
    pool = planted_pool(5 * (PAIRS_PER_CALL // CONFIG.candidates))
    return InferenceEngine(ToyLanguageModel(), planted_template(), pool)


def nearest(pool: Pool) -> NearestSelector:
    return NearestSelector(pool, ToyEncoder())


def test_scores_are_one_shot_gold_logprobs_and_lists_are_sorted(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards the polarity: CEIL's scorer stores a loss under the name of a score."""
    path = mine(engine, engine.pool[:5], recall=nearest(engine.pool), config=CONFIG, out=tmp_path)
    mined = read_mined(path)
    assert {one.query.uid for one in mined} == {example.uid for example in engine.pool[:5]}
    for one in mined:
        scores = [candidate.score for candidate in one.candidates]
        assert len(scores) == CONFIG.candidates
        assert scores == sorted(scores, reverse=True)
        for candidate in one.candidates:
            expected = engine.gold_logprobs([one.query], [Selection.of(candidate.position)])[0]
            assert candidate.score == pytest.approx(expected, abs=1e-5)
            assert engine.pool[candidate.position].uid == candidate.uid


def test_the_query_and_its_duplicates_are_never_candidates(tmp_path: Path) -> None:
    """Guards against EPR's `[1:]`, which drops the first hit and believes that it was the query."""
    examples = planted_examples(8)
    twins = [Example(f"twin-{one.uid}", {"text": one.fields["text"].upper() + "!"}, one.label) for one in examples[:4]]
    pool = Pool([*examples, *twins])
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    selectors = [nearest(pool), RandomSelector(pool)]
    mined = read_mined(mine(engine, pool, recall=selectors, config=MiningConfig(candidates=10), out=tmp_path))
    assert len(mined) == len(pool)
    for one in mined:
        positions = {candidate.position for candidate in one.candidates}
        assert len(positions) == 10
        assert not positions & pool.duplicates_of(one.query)


def test_near_copies_of_the_query_are_no_candidates_in_mining_or_training(tmp_path: Path) -> None:
    """Guards near duplicates all the way: none is mined, runs do not mix, and older lists are cleaned."""
    texts = [one.fields["text"] for one in planted_examples(8)]
    members = [
        Example(f"{at}-{by}", {"text": text + by * " so"}, "fresh") for at, text in enumerate(texts) for by in (0, 1)
    ]
    strict, loose = Pool(members, near_duplicates=0.85), Pool(members)
    judges = [InferenceEngine(ToyLanguageModel(), planted_template(), pool) for pool in (strict, loose)]
    places = [tmp_path / "strict", tmp_path / "loose"]
    config = MiningConfig(candidates=5)
    for judge, out in zip(judges, places, strict=True):
        mine(judge, judge.pool, recall=nearest(judge.pool), config=config, out=out)
    for one in read_mined(places[0]):
        assert not {candidate.uid.split("-")[0] for candidate in one.candidates} & {one.query.uid.split("-")[0]}
        assert len(one.candidates) == 5
    assert [len(one.candidates) for one in read_lines([places[1]], strict)[1]] == [4] * len(members)
    assert [len(one.candidates) for one in read_lines([places[1]], loose)[1]] == [5] * len(members)
    with pytest.raises(DataFileError, match="near_duplicates"):
        mine(judges[0], strict, recall=nearest(strict), config=config, out=places[1])
    older = json.loads((places[1] / HEADER_FILE).read_text())
    assert older.pop("near_duplicates") is None
    (places[1] / HEADER_FILE).write_text(json.dumps(older))
    mine(judges[1], loose, recall=nearest(loose), config=config, out=places[1])


def test_selectors_take_turns_without_duplicates(pool: Pool) -> None:
    """Guards a mix in which one selector's candidates crowd out the other's, or one is scored twice."""
    selectors = [nearest(pool), RandomSelector(pool)]
    (mixed,) = recalled(selectors, [pool[0]], 8)
    ranked = [list(reversed(selector.select([pool[0]], 8)[0].indices)) for selector in selectors]
    assert len(set(mixed)) == 8
    assert mixed[0] == ranked[0][0]
    assert set(ranked[0][:4]) | set(ranked[1][:4]) <= set(mixed)


@pytest.mark.parametrize("storage", STORAGES)
def test_interrupted_mining_gives_the_files_of_uninterrupted_mining(
    big: InferenceEngine, tmp_path: Path, storage: str
) -> None:
    """Guards against queries that are lost or mined twice after an interruption."""
    config = replace(CONFIG, storage=storage)
    whole = mine(big, big.pool, recall=nearest(big.pool), config=config, out=tmp_path / "whole")
    for calls in (0, 1, 2):
        stopping = StoppingSelector(nearest(big.pool), calls)
        with pytest.raises(Stop):
            mine(big, big.pool, recall=stopping, config=config, out=tmp_path / "parts", resume=calls > 0)
    parts = mine(big, big.pool, recall=nearest(big.pool), config=config, out=tmp_path / "parts")
    assert {file.name: file.read_bytes() for file in parts.iterdir()} == {
        file.name: file.read_bytes() for file in whole.iterdir()
    }


@pytest.mark.parametrize("tail", [b'{"uid": "train-1', b"\x00" * 40, b'{"uid"\n'])
def test_a_torn_last_line_is_cut_off(engine: InferenceEngine, tmp_path: Path, tail: bytes) -> None:
    """Guards against a file that kill -9 or a power cut makes unreadable for ever."""
    recall = nearest(engine.pool)
    path = mine(engine, engine.pool, recall=recall, config=CONFIG, out=tmp_path)
    whole = (path / MINED_FILE).read_bytes()
    kept = whole.splitlines(keepends=True)[:7]
    (path / MINED_FILE).write_bytes(b"".join(kept) + tail)
    assert len(read_mined(path)) == 7
    calls = engine.lm.usage.calls
    mine(engine, engine.pool, recall=recall, config=CONFIG, out=tmp_path)
    assert (path / MINED_FILE).read_bytes() == whole
    unfinished = len(engine.pool) - 7
    assert engine.lm.usage.calls - calls == unfinished * CONFIG.candidates * len(engine.labels)


def test_a_process_killed_while_mining_loses_nothing_that_was_written(tmp_path: Path) -> None:
    """Guards flush and fsync: lines in a buffer die with the process."""
    program = f"""
import os, signal
from pathlib import Path
from policies.mining import MiningConfig, mine
from selector.inference.engine import InferenceEngine
from selector.strategies.random import RandomSelector
from selector.testing import ToyLanguageModel, planted_pool, planted_template

class Killing(RandomSelector):
    asked = 0
    def select(self, queries, k):
        self.asked += 1
        if self.asked == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().select(queries, k)

pool = planted_pool({4 * (PAIRS_PER_CALL // 8)})
engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
mine(engine, pool, recall=Killing(pool), config=MiningConfig(candidates=8), out=Path({str(tmp_path)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -9
    assert len(read_mined(tmp_path)) == 2 * (PAIRS_PER_CALL // 8)


def test_a_higher_limit_goes_on_where_the_lower_one_ended(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards the promise that mining more later costs only the difference."""
    recall = nearest(engine.pool)
    for limit in (4, 9):
        config = MiningConfig(candidates=6, query_limit=limit)
        path = mine(engine, engine.pool, recall=recall, config=config, out=tmp_path / "grown")
    config = MiningConfig(candidates=6, query_limit=9)
    fresh = mine(engine, engine.pool, recall=recall, config=config, out=tmp_path / "fresh")
    assert (path / MINED_FILE).read_bytes() == (fresh / MINED_FILE).read_bytes()


def test_other_settings_are_refused_until_told_to_start_afresh(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards against scores of two language models, templates or pools in one file."""
    recall = nearest(engine.pool)
    mine(engine, engine.pool[:3], recall=recall, config=CONFIG, out=tmp_path)
    with pytest.raises(DataFileError, match=r"candidates.*--no-resume"):
        mine(engine, engine.pool[:3], recall=recall, config=MiningConfig(candidates=5), out=tmp_path)
    with pytest.raises(DataFileError, match="queries"):
        mine(engine, engine.pool[:4], recall=recall, config=CONFIG, out=tmp_path)
    other = InferenceEngine(engine.lm, engine.template, engine.pool, scoring="channel")
    with pytest.raises(DataFileError, match="scoring"):
        mine(other, engine.pool[:3], recall=recall, config=CONFIG, out=tmp_path)
    path = mine(other, engine.pool[:4], recall=recall, config=CONFIG, out=tmp_path, resume=False)
    assert len(read_mined(path)) == 4
    assert json.loads((tmp_path / HEADER_FILE).read_text())["scoring"] == "channel"


def test_lines_without_their_header_are_refused(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards against resuming a file of which nobody knows how it was made."""
    recall = nearest(engine.pool)
    mine(engine, engine.pool[:3], recall=recall, config=CONFIG, out=tmp_path)
    (tmp_path / HEADER_FILE).unlink()
    with pytest.raises(DataFileError, match=HEADER_FILE):
        mine(engine, engine.pool[:3], recall=recall, config=CONFIG, out=tmp_path)


def test_a_damaged_line_in_the_middle_is_named(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards against silently dropping all that follows a damaged line."""
    path = mine(engine, engine.pool[:4], recall=nearest(engine.pool), config=CONFIG, out=tmp_path)
    lines = (path / MINED_FILE).read_bytes().splitlines(keepends=True)
    (path / MINED_FILE).write_bytes(b"".join([lines[0], b"{}\n", *lines[2:]]))
    with pytest.raises(DataFileError, match="line 2"):
        read_mined(path)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a traceback where the user only has to free some space."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    mined = MinedQuery(planted_examples(1)[0], (Candidate(0, "a", -0.1),))
    with pytest.raises(DiskFullError):
        append_mined(tmp_path, [mined])


def test_an_output_folder_that_is_a_file_is_named(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards against a bare FileExistsError."""
    (tmp_path / "taken").touch()
    with pytest.raises(DataFileError, match="taken"):
        mine(engine, engine.pool[:3], recall=nearest(engine.pool), config=CONFIG, out=tmp_path / "taken")


def test_bad_queries_are_found_before_anything_is_scored(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards against an error after hours of scoring that was there to be seen at the start."""
    recall = nearest(engine.pool)
    good = list(engine.pool[:3])
    bad: list[tuple[list[Example], type[Exception]]] = [
        ([], EmptyPoolError),
        ([*good, Example("u", {"text": "x"})], InvalidExampleError),
        ([*good, good[0]], InvalidExampleError),
        ([*good, Example("u", {"body": "x"}, "fresh")], InvalidExampleError),
        ([*good, Example("u", {"text": "x"}, "stale")], UnknownLabelError),
        ([*good, Example("u", {"text": "word " * 600}, "fresh")], PromptTooLongError),
    ]
    for queries, error in bad:
        with pytest.raises(error):
            mine(engine, queries, recall=recall, config=CONFIG, out=tmp_path / "out")
    too_many = MiningConfig(candidates=len(engine.pool))
    with pytest.raises(TooFewExamplesError):
        mine(engine, good, recall=recall, config=too_many, out=tmp_path / "out")
    with pytest.raises(UsageError, match="no selector"):
        mine(engine, good, recall=[], config=CONFIG, out=tmp_path / "out")
    assert engine.lm.usage.calls == 0
    assert not (tmp_path / "out").exists()


def test_a_candidate_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    """Guards against the zero-shot score standing for a candidate that the model never saw."""
    long = Example("long", {"text": "word " * 60}, "fresh")
    pool = Pool([*planted_examples(6), long])
    engine = InferenceEngine(ToyLanguageModel(context_length=60), planted_template(), pool)
    path = mine(engine, pool[:3], recall=RandomSelector(pool), config=CONFIG, out=tmp_path)
    for one in read_mined(path):
        assert "long" not in {candidate.uid for candidate in one.candidates}
        assert len(one.candidates) == CONFIG.candidates - 1


@pytest.mark.parametrize(
    "wrong", [{"candidates": 1}, {"query_limit": 0}, {"seed": -1}, {"context": -1}, {"storage": "xml"}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    """Guards against settings that fail far from where they were made."""
    with pytest.raises(UsageError):
        MiningConfig(**wrong)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_mined_query_survives_the_file(tmp_path: Path, storage: str) -> None:
    """Guards hostile text: newlines, quotes, line separators and other scripts stay one line."""
    query = Example("ü\n1", {"text": 'a "b"\r\nc\u2028d\x85e 😀'}, "fresh")
    mined = MinedQuery(query, (Candidate(3, "x\ny", -0.25), Candidate(1, "z", -1.0)))
    append_mined(tmp_path, [mined, mined], storage=storage)
    assert read_mined(tmp_path) == [mined, mined]


def test_a_shard_is_written_behind_the_last_one(tmp_path: Path) -> None:
    """Guards what is there when the damaged shard before it was deleted, as its error advises."""
    lines = [MinedQuery(example, (Candidate(0, "a", -0.1),)) for example in planted_examples(4)]
    for line in lines[:3]:
        append_mined(tmp_path, [line], storage="parquet")
    sorted(tmp_path.glob("*.parquet"))[1].unlink()
    append_mined(tmp_path, [lines[3]], storage="parquet")
    assert read_mined(tmp_path) == [lines[0], lines[2], lines[3]]


def test_scores_behind_other_contexts_are_not_joined(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards against one-shot and set-conditioned scores in one list, of which one would win by its place."""
    places = [tmp_path / "alone", tmp_path / "behind"]
    for place, context in zip(places, (0, 2), strict=True):
        config = MiningConfig(candidates=5, context=context)
        mine(engine, engine.pool[:4], recall=nearest(engine.pool), config=config, out=place)
    with pytest.raises(DataFileError, match="context"):
        read_lines(places, engine.pool)


def test_candidates_are_scored_behind_the_same_context(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards set-conditioned scores: what stands before a candidate is what recall ranks behind all that are scored."""
    recall = nearest(engine.pool)
    config = MiningConfig(candidates=5, context=2)
    for one in read_mined(mine(engine, engine.pool[:4], recall=recall, config=config, out=tmp_path)):
        ranked = recall.select([one.query], 7)[0].indices[::-1]
        assert {candidate.position for candidate in one.candidates} == set(ranked[:5])
        for candidate in one.candidates:
            shown = Selection.of(ranked[6], ranked[5], candidate.position)
            assert candidate.score == pytest.approx(engine.gold_logprobs([one.query], [shown])[0], abs=1e-5)


def test_rounds_of_mining_are_joined_by_query() -> None:
    """Guards iterated mining: a query mined twice is one training query, its candidates sorted, each once."""
    first, second = planted_examples(2)
    lines = [
        MinedQuery(first, (Candidate(1, "a", -0.1), Candidate(2, "b", -0.5))),
        MinedQuery(second, (Candidate(3, "c", -0.2),)),
        MinedQuery(first, (Candidate(4, "d", -0.3), Candidate(2, "b", -0.5))),
    ]
    joined = merged(lines)
    assert [line.query for line in joined] == [first, second]
    assert [candidate.position for candidate in joined[0].candidates] == [1, 4, 2]


def test_recall_by_gold_output_finds_like_outputs() -> None:
    """Guards the published recall of EPR: ranked by the output, never the query itself, never by its input."""
    pool = Pool(
        [
            Example("a", {"text": "x y"}, "SELECT name FROM city"),
            Example("b", {"text": "p q"}, "SELECT name FROM river"),
            Example("c", {"text": "p r"}, "COUNT lakes"),
            Example("d", {"text": "x z"}, "COUNT all lakes now"),
        ]
    )
    (recall,) = build_recall(["bm25-output"], pool=pool, encoder=ToyEncoder(), seed=0)
    chosen = recall.select([pool[0], pool[2]], 3)
    assert (chosen[0].indices[-1], chosen[1].indices[-1]) == (1, 3)
    assert 0 not in chosen[0].indices
    with pytest.raises(UnknownNameError):
        build_recall(["telepathy"], pool=pool, encoder=ToyEncoder(), seed=0)
