"""The persistent, content-addressed score store and a language model behind it.

The key covers the language model's fingerprint, the prompt and the completion, so a score can never be mistaken for
another one's. SQLite in write-ahead mode keeps it safe against a kill at any moment and shared by processes. Beyond a
size limit the scores that were not used for longest give way. Threads may share a store. This module knows nothing of
what the prompts mean.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from selector.errors import DiskFullError, ScoreStoreError
from selector.lm.base import CompletionScore, LanguageModel, Usage, gives_exact_scores

LOOKUP = 500  # keys in one SELECT; SQLite allows 999 variables in old builds
COMMIT = 512  # requests scored between two commits: about what a kill can lose
BUSY_SECONDS = 60.0
EVICTED = 0.25  # share of the rows that goes at once when the limit is met
EVICTED_AT_ONCE = 20_000  # rows at most
RECENT = 3_600 * 10**9  # nanoseconds; the use of a score that was used of late is written with the next scores only
NOTED = 100_000  # uses that wait to be written at most

# What SQLite says of a file in use, and of a file that is no score store; the low byte of its code.
BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
DAMAGE_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT)


def score_key(fingerprint: str, prompt: str, completion: str) -> bytes:
    """Addresses a score by all that decides it.

    Args:
        fingerprint: Of the language model.
        prompt: The prompt.
        completion: The completion.

    Returns:
        32 bytes, a sha256 over the three with their lengths.
    """
    digest = hashlib.sha256()
    for part in (fingerprint, prompt, completion):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()


class ScoreStore:
    """A file of scores, safe for several processes and for threads that share it.

    Args:
        path: The SQLite file; it and its folder are made when missing.
        size_limit: Bytes that the scores may take, those that were not used for longest give way; None is no limit.

    Raises:
        ScoreStoreError: When the file cannot be opened or is not a score store.
        DiskFullError: When there is no room for it.
    """

    def __init__(self, path: Path, *, size_limit: int | None = None) -> None:
        self.path = path
        self.size_limit = size_limit
        self._lock = threading.Lock()  # one thread at a time: a transaction belongs to the connection
        self._noted: dict[bytes, None] = {}  # keys whose use is not written yet
        with self._errors_named():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._write_ahead()
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, logprob REAL NOT NULL, "
                "tokens INTEGER NOT NULL, total_tokens INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
            )
            self._add_recency()
            self._connection.execute("CREATE INDEX IF NOT EXISTS scores_used ON scores (used, key)")

    def __len__(self) -> int:
        with self._lock, self._errors_named():
            return int(self._connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0])

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            with suppress(sqlite3.Error):  # recency is not worth an error
                self._write_noted()
            self._connection.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, CompletionScore]:
        """Looks scores up.

        Args:
            keys: From `score_key`.

        Returns:
            The scores of those keys that are stored.
        """
        found, oldest = {}, time.time_ns()
        recent = oldest - RECENT
        with self._lock, self._errors_named():
            for start in range(0, len(keys), LOOKUP):
                chunk = keys[start : start + LOOKUP]
                marks = ",".join("?" * len(chunk))
                query = f"SELECT key, logprob, tokens, total_tokens, used FROM scores WHERE key IN ({marks})"  # noqa: S608
                for key, logprob, tokens, total, used in self._connection.execute(query, chunk):
                    found[key] = CompletionScore(logprob, tokens, total)
                    self._noted[key] = None
                    oldest = min(oldest, used)
            if oldest < recent or len(self._noted) > NOTED:
                self._write_noted()
        return found

    def put(self, scores: Mapping[bytes, CompletionScore]) -> None:
        """Stores scores in one transaction; a key that is there keeps its first score.

        Args:
            scores: Key to score.
        """
        with self._lock, self._errors_named(), self._transaction() as stamp:
            self._touch(stamp)
            rows = [(key, *score, stamp + 1) for key, score in scores.items()]
            self._connection.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?)", rows)
            if self.size_limit is not None and self._size() > self.size_limit:
                self._evict()

    @contextmanager
    def _transaction(self) -> Iterator[int]:
        """Begins to write and yields a stamp of recency that is later than all in the file, whatever the clock says."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            latest = self._connection.execute("SELECT MAX(used) FROM scores").fetchone()[0] or 0
            yield max(time.time_ns(), latest + 1)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._noted.clear()

    def _touch(self, stamp: int) -> None:
        self._connection.executemany("UPDATE scores SET used = ? WHERE key = ?", [(stamp, key) for key in self._noted])

    def _write_noted(self) -> None:
        """Writes which scores were used, unless another process is writing: reading never waits for recency."""
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            with suppress(sqlite3.OperationalError), self._transaction() as stamp:
                self._touch(stamp)
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    def _size(self) -> int:
        """Bytes that the rows take; pages freed by eviction are used again before the file grows."""
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _write_ahead(self) -> None:
        """Turns the write-ahead log on; SQLite does not wait here for another process that does the same."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in BUSY_CODES or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _evict(self) -> None:
        # Bounded, so that the transaction is short in a store of millions; the next one goes on while it is too large.
        looked_at = "SELECT COUNT(*) FROM (SELECT 1 FROM scores LIMIT ?)"
        count = int(self._connection.execute(looked_at, (int(EVICTED_AT_ONCE / EVICTED),)).fetchone()[0] * EVICTED)
        self._connection.execute(
            "DELETE FROM scores WHERE key IN (SELECT key FROM scores ORDER BY used, key LIMIT ?)", (count,)
        )

    def _add_recency(self) -> None:
        """Lets a file of version 0.1, which knew no recency, go on."""
        columns = {row[1] for row in self._connection.execute("PRAGMA table_info(scores)")}
        if "used" not in columns:
            try:
                self._connection.execute("ALTER TABLE scores ADD COLUMN used INTEGER NOT NULL DEFAULT 0")
            except sqlite3.OperationalError as error:
                if "duplicate column" not in str(error):  # another process may have been quicker
                    raise

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ScoreStoreError(
                f"the folder of the score store {self.path} cannot be used ({error.strerror})",
                expected="a folder that can be written",
                remedy="Set SHOTSMITH_CACHE to another folder, or pass --no-cache.",
            ) from error
        except sqlite3.Error as error:
            raise _named(error, self.path) from error


def _named(error: sqlite3.Error, path: Path) -> DiskFullError | ScoreStoreError:
    """Only a file that is no score store is to be deleted; one that is in use or out of reach holds good scores."""
    code = getattr(error, "sqlite_errorcode", None)  # None where the module itself refuses, as on a closed file
    kind = None if code is None else code & 0xFF
    if kind == sqlite3.SQLITE_FULL:
        return DiskFullError(str(path))
    if kind in BUSY_CODES:
        return ScoreStoreError(
            f"the score store {path} is held by another process ({error})",
            expected=f"a turn to write within {BUSY_SECONDS:g} seconds",
            remedy="The scores are safe: run the same command again when the other has gone on, or pass --no-cache.",
        )
    if kind in DAMAGE_CODES:
        return ScoreStoreError(
            f"the score store {path} cannot be used ({error})",
            expected="a SQLite file written by shotsmith",
            remedy="Delete it (scores will be computed again), or pass --no-cache.",
        )
    return ScoreStoreError(
        f"the score store {path} cannot be reached ({error})",
        expected="an open file that can be read and written",
        remedy="Check the rights to the file and its folder, set SHOTSMITH_CACHE to another, or pass --no-cache.",
    )


class CachedLanguageModel:
    """A language model that asks the score store first.

    Threads may share it. They take turns at the model behind, so that its work is counted for the right call.

    Args:
        lm: The language model.
        store: The store.
        commit: About how many requests are scored between two commits.
    """

    def __init__(self, lm: LanguageModel, store: ScoreStore, *, commit: int = COMMIT) -> None:
        self._lm = lm
        self._commit = commit
        self._store = store
        self._usage = Usage()
        self._turn = threading.Lock()  # held while the model works
        self._counting = threading.Lock()

    @property
    def exact(self) -> bool:
        """Whether all scores of the model behind the store are log-probabilities."""
        return gives_exact_scores(self._lm)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model behind the store."""
        return self._lm.fingerprint

    @property
    def context_length(self) -> int:
        """The window, tokens."""
        return self._lm.context_length

    @property
    def usage(self) -> Usage:
        """What was asked of store and model together; `tokens_computed` counts the model's work alone."""
        return self._usage

    @property
    def behind(self) -> LanguageModel:
        """The model behind the store."""
        return self._lm

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts tokens; see `LanguageModel.count_tokens`."""
        return self._lm.count_tokens(texts)

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        """Scores completions, storing what is new as it comes; see `LanguageModel.logprobs`."""
        pairs = list(zip(prompts, completions, strict=True))
        keys = [score_key(self.fingerprint, prompt, completion) for prompt, completion in pairs]
        scores = self._store.get(list(dict.fromkeys(keys)))
        # Sorted, so that requests with a common prefix are scored together.
        missing = sorted(
            {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in scores}.items(), key=_pair
        )
        hits = sum(key in scores for key in keys)
        computed = 0
        for chunk in _chunks(missing, self._commit):
            with self._turn:
                before = self._lm.usage.tokens_computed
                values = self._lm.logprobs([pair[0] for _, pair in chunk], [pair[1] for _, pair in chunk])
                computed += self._lm.usage.tokens_computed - before
            new = {key: value for (key, _), value in zip(chunk, values, strict=True)}
            self._store.put(new)
            scores |= new
        results = [scores[key] for key in keys]
        tokens = sum(score.total_tokens for score in results)
        self._count(Usage(calls=len(keys), tokens=tokens, tokens_computed=computed, cached=hits))
        return results

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> list[str]:
        """Continues prompts; texts are not stored; see `LanguageModel.generate`."""
        with self._turn:
            before = self._lm.usage
            texts = self._lm.generate(
                prompts, max_new_tokens=max_new_tokens, stop=stop, temperature=temperature, top_k=top_k, seed=seed
            )
            used = self._lm.usage - before
        self._count(used)
        return texts

    def _count(self, used: Usage) -> None:
        with self._counting:
            self._usage = self._usage + used


def _chunks(
    missing: Sequence[tuple[bytes, tuple[str, str]]], size: int
) -> Iterator[Sequence[tuple[bytes, tuple[str, str]]]]:
    """Parts of at least `size` requests that end where a prompt ends, so that no prompt is computed for two of them."""
    start = 0
    for end in range(1, len(missing) + 1):
        if end == len(missing) or (end - start >= size and missing[end][1][0] != missing[end - 1][1][0]):
            yield missing[start:end]
            start = end


def _pair(item: tuple[bytes, tuple[str, str]]) -> tuple[str, str]:
    return item[1]
