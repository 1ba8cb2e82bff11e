"""Tests of the score store and of the language model behind it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from selector.data.paths import score_store_limit
from selector.errors import DiskFullError, ScoreStoreError, UsageError
from selector.lm.base import CompletionScore
from selector.lm.cache import CachedLanguageModel, ScoreStore, score_key
from selector.testing import ToyLanguageModel

DAY = 86_400 * 10**9  # nanoseconds


def test_a_second_run_asks_the_model_nothing(tmp_path: Path) -> None:
    """Guards the reason for the store: a repeated run costs no tokens and gives the very same scores."""
    prompts, completions = ["the plot is dull . the plot is", "a", "a"], [" dull", " b", " b"]
    store = ScoreStore(tmp_path / "scores.sqlite")
    first = CachedLanguageModel(ToyLanguageModel(), store)
    scores = first.logprobs(prompts, completions)
    store.close()
    again = CachedLanguageModel(ToyLanguageModel(), ScoreStore(tmp_path / "scores.sqlite"))
    assert again.logprobs(prompts, completions) == scores == ToyLanguageModel().logprobs(prompts, completions)
    assert (again.usage.cached, again.usage.tokens_computed) == (3, 0)
    assert (first.usage.calls, first.usage.tokens) == (again.usage.calls, again.usage.tokens)
    assert first.usage.tokens_computed < first.usage.tokens  # the repeated pair was computed once


def test_the_key_separates_model_prompt_and_completion() -> None:
    """Guards against stale scores: lm-evaluation-harness's key left out the model and its seed."""
    keys = {
        score_key("m", "ab", "c"),
        score_key("m", "a", "bc"),
        score_key("n", "ab", "c"),
        score_key("ma", "b", "c"),
        score_key("m", "ab", "\ud800"),
    }
    assert len(keys) == 5


def test_the_first_score_of_a_key_stays(tmp_path: Path) -> None:
    """Guards reproducibility between processes that score the same pair at the same time."""
    store = ScoreStore(tmp_path / "s.sqlite")
    key = score_key("m", "p", "c")
    store.put({key: CompletionScore(-1.0, 1, 2)})
    store.put({key: CompletionScore(-1.1, 1, 2)})
    assert store.get([key, b"other"]) == {key: CompletionScore(-1.0, 1, 2)}
    assert len(store) == 1


def test_work_is_stored_as_it_comes(tmp_path: Path) -> None:
    """Guards against losing a long run to an error at its end."""

    class FailsLate(ToyLanguageModel):
        calls = 0

        def logprobs(self, prompts, completions):  # type: ignore[no-untyped-def]
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().logprobs(prompts, completions)

    store = ScoreStore(tmp_path / "s.sqlite")
    prompts = [f"prompt {number}" for number in range(600)]
    with pytest.raises(KeyboardInterrupt):
        CachedLanguageModel(FailsLate(), store).logprobs(prompts, [" x"] * 600)
    assert len(store) == 512


_WRITER = """
import sys
from pathlib import Path
from typing import ClassVar
from selector.lm.base import CompletionScore
from selector.lm.cache import ScoreStore
store = ScoreStore(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    store.put({f"{number + at:032d}".encode(): CompletionScore(-float(number + at), 1, 2) for at in range(20)})
    number += 20
    print(number, flush=True)
"""


def test_kill_minus_nine_of_concurrent_writers_loses_no_finished_write(tmp_path: Path) -> None:
    """Guards crash safety: two processes write, both are killed, every acknowledged batch is there and readable."""
    path = tmp_path / "scores.sqlite"
    ScoreStore(path).close()
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(start)], stdout=subprocess.PIPE, text=True)
        for start in (0, 10_000_000)
    ]
    acknowledged = []
    deadline = time.monotonic() + 60
    for writer in writers:
        assert writer.stdout is not None
        for _ in range(5):
            assert time.monotonic() < deadline
            last = int(writer.stdout.readline())
        acknowledged.append(last)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
    store = ScoreStore(path)
    for start, end in zip((0, 10_000_000), acknowledged, strict=True):
        keys = [f"{number:032d}".encode() for number in range(start, end)]
        found = store.get(keys)
        assert len(found) == len(keys)
        assert all(score.logprob == -float(int(key)) for key, score in found.items())


def test_a_damaged_store_says_what_to_do(tmp_path: Path) -> None:
    """Guards against a sqlite3 traceback as the answer to a damaged file."""
    path = tmp_path / "scores.sqlite"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(ScoreStoreError, match="Delete it"):
        ScoreStore(path)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """Guards against an unnamed failure when the disk is full; SQLite's own limit stands in for the disk."""
    store = ScoreStore(tmp_path / "s.sqlite")
    store._connection.execute("PRAGMA max_page_count = 3")
    scores = {os.urandom(32): CompletionScore(-1.0, 1, 2) for _ in range(2000)}
    with pytest.raises(DiskFullError, match="run the same command again"):
        store.put(scores)
    assert len(store) == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Guards the message for a cache folder that is a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoreStoreError, match="SHOTSMITH_CACHE"):
        ScoreStore(tmp_path / "file" / "scores.sqlite")


def test_the_file_is_in_write_ahead_mode(tmp_path: Path) -> None:
    """Guards concurrent reading while another process writes."""
    ScoreStore(tmp_path / "s.sqlite").close()
    connection = sqlite3.connect(tmp_path / "s.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def batch(start: int, size: int = 400) -> dict[bytes, CompletionScore]:
    return {f"{number:032d}".encode(): CompletionScore(-float(number), 1, 2) for number in range(start, start + size)}


def test_beyond_the_limit_what_was_not_used_for_longest_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the disk against a store that only grows, and a live score against being thrown out before a dead one."""
    limit = 200_000
    store = ScoreStore(tmp_path / "s.sqlite", size_limit=limit)
    kept = batch(0)
    for day in range(1, 40):
        monkeypatch.setattr("time.time_ns", lambda day=day: day * DAY)
        store.put(batch(day * 1000))
        if day > 1:
            assert store.get(list(kept)) == kept, "what is used every day stays"
        else:
            store.put(kept)
    assert store._size() <= limit
    assert (tmp_path / "s.sqlite").stat().st_size <= 2 * limit
    assert store.get(list(batch(39_000))) == batch(39_000)
    assert store.get(list(batch(2000))) == {}


def test_a_store_of_version_0_1_goes_on(tmp_path: Path) -> None:
    """Guards scores that users paid for before recency was kept."""
    connection = sqlite3.connect(tmp_path / "s.sqlite")
    connection.execute(
        "CREATE TABLE scores (key BLOB PRIMARY KEY, logprob REAL NOT NULL, tokens INTEGER NOT NULL, "
        "total_tokens INTEGER NOT NULL) WITHOUT ROWID"
    )
    connection.execute("INSERT INTO scores VALUES (?, -1.0, 1, 2)", (b"old",))
    connection.commit()
    connection.close()
    store = ScoreStore(tmp_path / "s.sqlite")
    store.put({b"new": CompletionScore(-2.0, 1, 2)})
    assert store.get([b"old", b"new"]) == {b"old": CompletionScore(-1.0, 1, 2), b"new": CompletionScore(-2.0, 1, 2)}


def test_the_labels_of_a_prompt_are_scored_together(tmp_path: Path) -> None:
    """Guards prefix sharing against commits: a prompt's labels never end up in two calls."""

    class Watched(ToyLanguageModel):
        calls: ClassVar[list[list[str]]] = []

        def logprobs(self, prompts, completions):  # type: ignore[no-untyped-def]
            self.calls.append(list(prompts))
            return super().logprobs(prompts, completions)

    lm = CachedLanguageModel(Watched(), ScoreStore(tmp_path / "s.sqlite"), commit=4)
    prompts = [f"prompt {number // 3}" for number in range(30)]
    lm.logprobs(prompts, [" a", " b", " c"] * 10)
    assert [len(call) for call in Watched.calls] == [6] * 5
    assert sum(len(set(call)) for call in Watched.calls) == 10


def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards users with small disks, and names a value that is no number."""
    monkeypatch.setenv("SHOTSMITH_STORE_MIB", "3")
    assert score_store_limit() == 3 * 2**20
    monkeypatch.setenv("SHOTSMITH_STORE_MIB", "3 GiB")
    with pytest.raises(UsageError, match="whole number"):
        score_store_limit()
