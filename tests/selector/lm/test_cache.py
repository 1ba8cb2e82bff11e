"""Tests of the score store and of the language model behind it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selector.errors import DiskFullError, ScoreStoreError
from selector.lm.base import CompletionScore
from selector.lm.cache import CachedLanguageModel, ScoreStore, score_key
from selector.testing import ToyLanguageModel


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
