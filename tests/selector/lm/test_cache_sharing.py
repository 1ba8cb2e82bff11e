"""Tests of the score store under threads, locks and a size limit that several processes share."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selector.errors import ScoreStoreError
from selector.lm import cache
from selector.lm.base import CompletionScore
from selector.lm.cache import CachedLanguageModel, ScoreStore
from selector.testing import ToyLanguageModel


def random_batch(seed: int, size: int = 400) -> dict[bytes, CompletionScore]:
    """Keys as score_key gives them: spread evenly, so that their order says nothing of their age."""
    rng = random.Random(seed)
    return {rng.randbytes(32): CompletionScore(-float(number), 1, 2) for number in range(size)}


def test_a_second_thread_may_use_the_store(tmp_path: Path) -> None:
    """Guards a server with worker threads: SQLite's thread check came out as 'damaged, delete it'."""
    store = ScoreStore(tmp_path / "s.sqlite", size_limit=400_000)
    batches = [random_batch(seed, 100) for seed in range(12)]

    def work(batch: dict[bytes, CompletionScore]) -> dict[bytes, CompletionScore]:
        for start in range(0, 100, 10):
            store.put(dict(list(batch.items())[start : start + 10]))
        return store.get(list(batch))

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(work, batches)) == batches
    assert len(store) == 1200


def test_threads_count_what_they_asked(tmp_path: Path) -> None:
    """Guards the usage of one model behind several threads: additions must not overwrite each other."""
    lm = CachedLanguageModel(ToyLanguageModel(), ScoreStore(tmp_path / "s.sqlite"), commit=4)

    def ask(number: int) -> float:
        return lm.logprobs([f"prompt {number} {at}" for at in range(20)], [" x"] * 20)[0].logprob

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, range(30)))
    assert lm.usage.calls == 600
    assert lm.usage.cached == 0
    ask(3)
    assert (lm.usage.calls, lm.usage.cached) == (620, 20)


def test_a_locked_store_is_not_to_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards good scores: a file that another process holds was called damaged, with the advice to delete it."""
    monkeypatch.setattr(cache, "BUSY_SECONDS", 0.05)
    store = ScoreStore(tmp_path / "s.sqlite")
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ScoreStoreError, match="another process") as caught:
        store.put(random_batch(1, 1))
    assert "Delete" not in str(caught.value)
    other.execute("ROLLBACK")
    other.close()
    store.put(random_batch(1, 1))


def test_a_closed_store_is_not_to_be_deleted(tmp_path: Path) -> None:
    """Guards good scores against advice for damaged files when the program at fault is ours."""
    store = ScoreStore(tmp_path / "s.sqlite")
    store.close()
    with pytest.raises(ScoreStoreError) as caught:
        store.get([b"key"])
    assert "Delete" not in str(caught.value)


def test_reading_goes_on_while_another_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards reads against the note of their own recency: it may be lost, the score may not."""
    monkeypatch.setattr(cache, "BUSY_SECONDS", 0.05)
    store = ScoreStore(tmp_path / "s.sqlite")
    batch = random_batch(1, 5)
    store.put(batch)
    store._connection.execute("UPDATE scores SET used = 1")  # so old that reading wants to write
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.get(list(batch)) == batch
    other.execute("ROLLBACK")
    other.close()


def test_what_was_just_stored_or_read_stays_when_the_limit_is_met(tmp_path: Path) -> None:
    """Guards recency within a day: it was kept by the day, so eviction took by hash what had just been stored."""
    store = ScoreStore(tmp_path / "s.sqlite", size_limit=300_000)
    read = random_batch(0)
    store.put(read)
    evicted = False
    for seed in range(1, 40):
        before = len(store)
        batch = random_batch(seed)
        store.put(batch)
        evicted |= len(store) < before + len(batch)
        assert store.get(list(batch)) == batch, "what was stored last gave way"
        assert store.get(list(read)) == read, "what is read all the time gave way"
    assert evicted
    assert store.get(list(random_batch(1))) == {}
    assert store._size() <= 300_000


def test_a_transaction_evicts_no_more_than_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards writers against each other: a quarter of millions of rows in one transaction outlasts their patience."""
    monkeypatch.setattr(cache, "EVICTED_AT_ONCE", 50)
    store = ScoreStore(tmp_path / "s.sqlite")
    store.put(random_batch(0))
    store.size_limit = 1
    for left in (351, 302, 253):
        store.put(random_batch(left, size=1))
        assert len(store) == left


def test_opening_waits_for_another_process_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards processes that start together on a new file: SQLite answers one of them at once that it is locked."""
    store = ScoreStore(tmp_path / "s.sqlite")
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    answers = [busy, busy, None]

    class Contended:
        def execute(self, statement: str) -> None:
            assert statement == "PRAGMA journal_mode=WAL"
            if (answer := answers.pop(0)) is not None:
                raise answer

    monkeypatch.setattr(store, "_connection", Contended())
    store._write_ahead()
    assert not answers
    answers.append(busy)
    monkeypatch.setattr(cache, "BUSY_SECONDS", -1.0)
    with pytest.raises(sqlite3.OperationalError):
        store._write_ahead()


def test_recency_is_read_from_an_index(tmp_path: Path) -> None:
    """Guards eviction from millions of rows against sorting them all under the write lock."""
    store = ScoreStore(tmp_path / "s.sqlite")
    plan = store._connection.execute("EXPLAIN QUERY PLAN SELECT key FROM scores ORDER BY used, key LIMIT 9").fetchall()
    assert "USING COVERING INDEX" in plan[0][3]
    assert not any("TEMP B-TREE" in row[3] for row in plan)


def test_reading_what_was_used_of_late_writes_nothing(tmp_path: Path) -> None:
    """Guards cheap reads: recency is written with the next scores or when the file is closed, not for each look-up."""
    store = ScoreStore(tmp_path / "s.sqlite")
    store.put(random_batch(1))
    changes = store._connection.total_changes
    assert len(store.get(list(random_batch(1)))) == 400
    assert store._connection.total_changes == changes
    store.put({b"new": CompletionScore(-1.0, 1, 2)})
    assert store._connection.total_changes == changes + 401
    store.get([b"new"])
    store.close()
    used = dict(sqlite3.connect(tmp_path / "s.sqlite").execute("SELECT key, used FROM scores"))
    assert all(used[b"new"] > stamp for key, stamp in used.items() if key != b"new")


_WRITER = """
import random, sys
from pathlib import Path
from selector.lm.base import CompletionScore
from selector.lm.cache import ScoreStore
store = ScoreStore(Path(sys.argv[1]), size_limit=int(sys.argv[2]))
print("open", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3]), int(sys.argv[3]) + 40):
    rng = random.Random(number)
    batch = {rng.randbytes(32): CompletionScore(-float(at), 1, 2) for at in range(200)}
    store.put(batch)
store.close()
"""


def test_two_processes_share_the_size_limit(tmp_path: Path) -> None:
    """Guards the limit and the file when two processes store and evict at the same time."""
    path, limit = tmp_path / "s.sqlite", 300_000
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(limit), str(start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for start in (0, 1000)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
    for writer in writers:
        writer.communicate("go\n")
        assert writer.returncode == 0
    store = ScoreStore(path, size_limit=limit)
    assert store._size() <= limit
    assert path.stat().st_size <= 2 * limit
    assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = store.get(
        [key for start in (0, 1000) for seed in range(start, start + 40) for key in random_batch(seed, 200)]
    )
    assert len(found) == len(store) >= 1000
    ends = [random_batch(start + 39, 200) for start in (0, 1000)]
    assert any(store.get(list(end)) == end for end in ends), "what was stored last gave way"
