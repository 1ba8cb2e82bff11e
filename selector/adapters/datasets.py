"""A function for `datasets.Dataset.map` that adds demonstrations and a prompt to every row.

`datasets` keeps results by a hash of the function. What is hashed here is the content of artifact, pool and template:
the same in every process, another after training again. The language model is not asked, so no prompt is shortened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selector.adapters.source import DemonstrationSource
from selector.data.task import Task
from selector.errors import ArtifactMismatchError, UsageError


class DemonstrationMap:
    """Adds the columns "demonstrations" (uids in prompt order) and "prompt" to a batch.

    Use it as `dataset.map(DemonstrationMap("policy", "task.toml", k=4), batched=True)`; with `num_proc` every process
    loads the artifact by itself.

    Args:
        artifact: A folder written by `shotsmith export` or `shotsmith train-retriever`.
        task: The path of a TASK.toml, or the name of a bundled task.
        k: Demonstrations for each row.
        force: Whether a policy made for another pool or encoder is taken.

    Raises:
        ArtifactError: When the artifact is missing, damaged or of another version.
        ArtifactMismatchError: When a policy was made for another pool or encoder and `force` is off.
    """

    def __init__(self, artifact: Path | str, task: Path | str, *, k: int = 4, force: bool = False) -> None:
        self.artifact = str(artifact)
        self.task = str(task)
        self.k = k
        self.force = force
        self.source = DemonstrationSource.load(self.artifact, self.task, force=force)
        self._template = Task.load(self.task).template

    @property
    def fingerprint(self) -> str:
        """The sha256 of artifact, pool, template and columns, hexadecimal."""
        return self.source.fingerprint

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Chooses demonstrations for a batch of rows.

        Args:
            batch: Column to values, as `Dataset.map` gives them with `batched=True`.

        Returns:
            The two columns that are added.

        Raises:
            UsageError: When it is a single row instead of a batch.
            InvalidExampleError: When the batch lacks an input column, or the choice columns where the prompt shows or
                scores choices.
            TooFewExamplesError: When the pool without a row and its duplicates holds fewer than k.
        """
        columns = self.source.columns
        given = [name for name in (*columns.inputs, *columns.choices) if name in batch]
        if any(isinstance(batch[name], str) or not hasattr(batch[name], "__len__") for name in given):
            raise UsageError("map gave a single row", expected="a batch", remedy="Call map(..., batched=True).")
        count = max((len(batch[name]) for name in given), default=1)
        rows = [{name: batch[name][number] for name in given} for number in range(count)]
        chosen = self.source.examples(rows, self.k)
        queries = [columns.query(row) for row in rows]
        prompts = [self._template.prompt(shown, query) for shown, query in zip(chosen, queries, strict=True)]
        return {"demonstrations": [[example.uid for example in shown] for shown in chosen], "prompt": prompts}

    def __reduce__(self) -> tuple[Any, ...]:
        """Hashes and travels to other processes as settings and fingerprint, never as models."""
        return _loaded, (self.artifact, self.task, self.k, self.force, self.fingerprint)


def _loaded(artifact: str, task: str, k: int, force: bool, fingerprint: str) -> DemonstrationMap:
    made = DemonstrationMap(artifact, task, k=k, force=force)
    if made.fingerprint != fingerprint:
        raise ArtifactMismatchError(
            part="artifact or task",
            artifact=fingerprint,
            present=made.fingerprint,
            remedy="It changed while rows were being mapped; map them again.",
        )
    return made
