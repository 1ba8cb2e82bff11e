"""Tasks as the studies measure them: in float32 unless asked, which gives the same answers on every machine."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import SHARED_DATA
from selector.data.task import Task


def studied_task(name: str, *, seed: int | None = None, dtype: str = "float32") -> Task:
    """Loads a task.

    Args:
        name: The preset.
        seed: Of its splits; None takes the preset's.
        dtype: Of the language model.

    Returns:
        The task.
    """
    task = Task.load(name, seed=seed, data_dir=SHARED_DATA)
    return replace(task, lm=replace(task.lm, dtype=dtype))
