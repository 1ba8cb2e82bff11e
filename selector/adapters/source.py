"""Where the adapters get demonstrations from: a pool, and the selector that chooses from it.

The pool may grow; the selector then follows it without embedding again what it knows. Nothing here knows a framework.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from selector.adapters.columns import Columns, Row
from selector.data.pool import Pool
from selector.errors import UsageError
from selector.strategies.base import Selector
from selector.types import Example, Selection
from selector.version import __version__

SelectorBuilder: TypeAlias = Callable[[Pool], Selector]
"""Makes a selector that chooses from a pool."""


class DemonstrationSource:
    """Chooses demonstrations for rows; one call at a time, whatever the number of threads.

    Copies share it, and it cannot be pickled: it holds models.

    Args:
        build: Makes the selector, now and whenever the pool has grown.
        pool: What is chosen from.
        columns: What fields and label are called outside.
        key: Names whatever `build` depends on beside the pool, where results are kept by fingerprint.
    """

    def __init__(self, build: SelectorBuilder, pool: Pool, columns: Columns, *, key: str = "") -> None:
        self.columns = columns
        self._build = build
        self._pool = pool
        self._selector = build(pool)
        self._grown = False  # since the selector was made
        self._key = key
        self._check: Callable[[Example], None] = lambda example: None
        self._updated: Callable[[Selector, Pool], Selector | None] = lambda former, pool: None
        # Encoders, tokenizers and language models are not safe under several threads at once.
        self._lock = threading.RLock()

    def __copy__(self) -> DemonstrationSource:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> DemonstrationSource:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuses to be pickled, which would otherwise fail at a lock within."""
        raise UsageError(
            "a source of demonstrations holds models and cannot be pickled",
            expected="what is saved to leave it out",
            remedy="Save the state alone, and make the source again from its artifact or rows.",
        )

    @classmethod
    def of_rows(
        cls, rows: Iterable[Row], build: SelectorBuilder, *, inputs: Sequence[str], label: str = "label", key: str = ""
    ) -> DemonstrationSource:
        """Takes labelled rows as the pool.

        Args:
            rows: Labelled rows.
            build: Makes the selector.
            inputs: The input columns.
            label: The label column.
            key: Names whatever `build` depends on beside the pool.

        Returns:
            The source.

        Raises:
            EmptyPoolError: When there are no rows.
            InvalidExampleError: When a row lacks a column or holds what is not text.
        """
        columns = Columns(tuple(inputs), label)
        return cls(build, columns.pool(rows), columns, key=key)

    @classmethod
    def load(
        cls, folder: Path | str, task: Path | str, *, label: str = "label", force: bool = False
    ) -> DemonstrationSource:
        """Loads an exported policy or a trained retriever over the pool of a task.

        Args:
            folder: A folder written by `shotsmith export` or `shotsmith train-retriever`.
            task: The path of a TASK.toml, or the name of a bundled task; its language model is loaded only where the
                policy reads it.
            label: What the label column is called outside.
            force: Whether a policy made for another pool or encoder is taken.

        Returns:
            The source.

        Raises:
            ArtifactError: When the folder is missing, damaged or of another version.
            ArtifactMismatchError: When a policy was made for another pool or encoder and `force` is off.
            TaskFileError: When the task file is missing or wrong.
        """
        from selector.inference.changed import changed_engine
        from selector.inference.engine import InferenceEngine
        from selector.strategies.exported import load_learned, queries_of_another_task
        from selector.strategies.updated import updated_selector
        from selector.workspace import Workspace

        workspace = Workspace.open(task)
        first, template = workspace.task.pool, workspace.task.template

        def engine(pool: Pool) -> InferenceEngine:
            own = workspace.engine
            return own if pool is first else changed_engine(own, pool=pool)

        def demonstrable(example: Example) -> None:
            template.check(example)
            template.demonstration(example)  # one without a rationale that is shown would break answers later

        others = queries_of_another_task(folder, workspace.task) if force else ()

        def build(pool: Pool) -> Selector:
            # Only the pool of the task is held to the policy's fingerprint: a grown one is other on purpose.
            return load_learned(
                folder, pool, force=force or pool is not first, engine=lambda: engine(pool), task_queries=others
            )

        key = ":".join((__version__, folder_fingerprint(folder), template.fingerprint, str(workspace.task.lm)))
        columns = Columns.of_pool(first, label=label, choices=workspace.task.choice_columns)
        source = cls(build, first, columns, key=key)
        source._check = demonstrable
        source._updated = lambda former, pool: updated_selector(former, pool, lambda: engine(pool))
        return source

    @property
    def pool(self) -> Pool:
        """What is chosen from at present."""
        return self._pool

    @property
    def fingerprint(self) -> str:
        """The sha256 of all that decides which demonstrations are chosen, hexadecimal."""
        columns = (self.columns.inputs, self.columns.label, self.columns.choices)
        parts = [self._pool.fingerprint, self._pool.near_duplicates, *columns, self._key]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def add(self, row: Row) -> str:
        """Adds a demonstration to the pool.

        Args:
            row: A labelled row.

        Returns:
            The uid that it was given.

        Raises:
            InvalidExampleError: When it lacks a column or holds what is not text.
            UnknownLabelError: When the task that the source was loaded with has no such label.
        """
        with self._lock:
            number = len(self._pool)
            known = {example.uid for example in self._pool}
            while (uid := f"added-{number}") in known:
                number += 1
            example = self.columns.example(row, uid)
            self._check(example)
            self._pool = self._pool.remade((*self._pool, example))
            self._grown = True  # the selector follows when it is next asked, so that many rows can be added in a row
            return uid

    def select(self, rows: Sequence[Row], k: int) -> tuple[Pool, list[Selection]]:
        """Chooses demonstrations.

        Args:
            rows: N rows with the input columns.
            k: Demonstrations for each.

        Returns:
            The pool, and N selections from it in prompt order.

        Raises:
            InvalidExampleError: When a row lacks an input column.
            TooFewExamplesError: When the pool without a query and its duplicates holds fewer than k.
        """
        queries = [self.columns.query(row) for row in rows]
        with self._lock:
            if self._grown:
                # The former one lives until the next is made: encoders of the same weights share what they embedded.
                self._selector = self._updated(self._selector, self._pool) or self._build(self._pool)
                self._grown = False
            return self._pool, self._selector.select(queries, k)

    def examples(self, rows: Sequence[Row], k: int) -> list[list[Example]]:
        """Chooses demonstrations; see `select`.

        Args:
            rows: N rows with the input columns.
            k: Demonstrations for each.

        Returns:
            N lists of examples in prompt order: the last stands next to the query.
        """
        pool, selections = self.select(rows, k)
        return [[pool[index] for index in chosen.indices] for chosen in selections]

    def rows(self, rows: Sequence[Row], k: int) -> list[list[dict[str, Any]]]:
        """Chooses demonstrations; see `select`.

        Args:
            rows: N rows with the input columns.
            k: Demonstrations for each.

        Returns:
            N lists of rows in prompt order: the last stands next to the query.
        """
        return [[self.columns.row(example) for example in chosen] for chosen in self.examples(rows, k)]


def folder_fingerprint(folder: Path | str) -> str:
    """Identifies the content of a policy's or retriever's folder, wherever it lies.

    Args:
        folder: The folder; a missing one counts as empty.

    Returns:
        The sha256 over the names and contents of its files, hexadecimal.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}:{content}\n".encode())
    return digest.hexdigest()
