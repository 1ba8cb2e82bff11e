"""The persistent, content-addressed score store and a language model behind it.

The key covers the language model's fingerprint, the prompt and the completion, so a score can never be mistaken for
another one's. SQLite in write-ahead mode keeps it safe against a kill at any moment and shared by processes. Beyond a
size limit the scores that were not used for longest give way. This module knows nothing of what the prompts mean.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from selector.errors import DiskFullError, ScoreStoreError
from selector.lm.base import CompletionScore, LanguageModel, Usage

LOOKUP = 500  # keys in one SELECT; SQLite allows 999 variables in old builds
COMMIT = 512  # requests scored between two commits: about what a kill can lose
BUSY_SECONDS = 60.0
EVICTED = 0.25  # share of the rows that goes at once when the limit is met
DAY_SECONDS = 86_400  # recency is kept by the day, so that reading seldom writes


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
    """A file of scores, safe for several processes.

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
        with self._errors_named():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, logprob REAL NOT NULL, "
                "tokens INTEGER NOT NULL, total_tokens INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
            )
            self._add_recency()

    def __len__(self) -> int:
        with self._errors_named():
            return int(self._connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0])

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, CompletionScore]:
        """Looks scores up.

        Args:
            keys: From `score_key`.

        Returns:
            The scores of those keys that are stored.
        """
        found, today, stale = {}, _today(), []
        with self._errors_named():
            for start in range(0, len(keys), LOOKUP):
                chunk = keys[start : start + LOOKUP]
                marks = ",".join("?" * len(chunk))
                query = f"SELECT key, logprob, tokens, total_tokens, used FROM scores WHERE key IN ({marks})"  # noqa: S608
                for key, logprob, tokens, total, used in self._connection.execute(query, chunk):
                    found[key] = CompletionScore(logprob, tokens, total)
                    if used < today:
                        stale.append((today, key))
            if stale:
                self._write("UPDATE scores SET used = ? WHERE key = ?", stale)
        return found

    def put(self, scores: Mapping[bytes, CompletionScore]) -> None:
        """Stores scores in one transaction; a key that is there keeps its first score.

        Args:
            scores: Key to score.
        """
        today = _today()
        with self._errors_named():
            rows = [(key, *score, today) for key, score in scores.items()]
            self._write("INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?)", rows)
            if self.size_limit is not None and self._size() > self.size_limit:
                self._evict()

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Runs a statement for every row in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _size(self) -> int:
        """Bytes that the rows take; pages freed by eviction are used again before the file grows."""
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _evict(self) -> None:
        count = int(self._connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0] * EVICTED)
        self._write("DELETE FROM scores WHERE key IN (SELECT key FROM scores ORDER BY used, key LIMIT ?)", [(count,)])

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
            if "full" in str(error):
                raise DiskFullError(str(self.path)) from error
            raise ScoreStoreError(
                f"the score store {self.path} cannot be used ({error})",
                expected="a SQLite file written by shotsmith",
                remedy="Delete it (scores will be computed again), or pass --no-cache.",
            ) from error


class CachedLanguageModel:
    """A language model that asks the score store first.

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
        before = self._lm.usage.tokens_computed
        for chunk in _chunks(missing, self._commit):
            values = self._lm.logprobs([pair[0] for _, pair in chunk], [pair[1] for _, pair in chunk])
            new = {key: value for (key, _), value in zip(chunk, values, strict=True)}
            self._store.put(new)
            scores |= new
        results = [scores[key] for key in keys]
        self._usage = self._usage.also(
            calls=len(keys),
            tokens=sum(score.total_tokens for score in results),
            tokens_computed=self._lm.usage.tokens_computed - before,
            cached=hits,
        )
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
        before = self._lm.usage
        texts = self._lm.generate(
            prompts, max_new_tokens=max_new_tokens, stop=stop, temperature=temperature, top_k=top_k, seed=seed
        )
        self._usage = self._usage + (self._lm.usage - before)
        return texts


def _chunks(
    missing: Sequence[tuple[bytes, tuple[str, str]]], size: int
) -> Iterator[Sequence[tuple[bytes, tuple[str, str]]]]:
    """Parts of at least `size` requests that end where a prompt ends, so that no prompt is computed for two of them."""
    start = 0
    for end in range(1, len(missing) + 1):
        if end == len(missing) or (end - start >= size and missing[end][1][0] != missing[end - 1][1][0]):
            yield missing[start:end]
            start = end


def _today() -> int:
    return int(time.time()) // DAY_SECONDS


def _pair(item: tuple[bytes, tuple[str, str]]) -> tuple[str, str]:
    return item[1]
