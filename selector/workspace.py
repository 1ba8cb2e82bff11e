"""A task with its models, each loaded when it is first needed.

Selecting with an exported policy needs no language model, so none is loaded for it. This module knows nothing of
learners, run folders or the command line.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from selector.data.paths import score_store_path
from selector.data.task import Task
from selector.inference.engine import InferenceEngine
from selector.lm.base import LanguageModel, Usage
from selector.lm.loading import load_language_model
from selector.progress import SILENT, Progress
from selector.retrieval.encoder import SentenceEncoder


class Workspace:
    """What a program needs to work on a task.

    Args:
        task: The task.
        use_store: Whether scores are read from and written to the persistent score store.
        progress: Shows how far a call of a language model on a cluster is.
    """

    def __init__(self, task: Task, *, use_store: bool = True, progress: Progress = SILENT) -> None:
        self.task = task
        self.use_store = use_store
        self.progress = progress

    @classmethod
    def open(
        cls,
        task: Path | str,
        *,
        use_store: bool = True,
        engine: str = "",
        ray_address: str = "",
        data_dir: Path | None = None,
        progress: Progress = SILENT,
    ) -> Workspace:
        """Opens a task by the path of its TASK.toml or by the name of a preset.

        Args:
            task: The path or name.
            use_store: Whether scores are read from and written to the persistent score store.
            engine: "local" or "ray"; empty takes what the task says.
            ray_address: The Ray cluster; empty takes what the task says.
            data_dir: The folder of the data sets that presets read; see `Task.load`.
            progress: Shows how far a call of a language model on a cluster is.

        Returns:
            The workspace.

        Raises:
            TaskFileError: When the task file is missing or wrong.
        """
        loaded = Task.load(task, data_dir=data_dir)
        lm = replace(loaded.lm, engine=engine or loaded.lm.engine, ray_address=ray_address or loaded.lm.ray_address)
        return cls(replace(loaded, lm=lm), use_store=use_store, progress=progress)

    def redrawn(self, seed: int) -> Workspace:
        """Makes a workspace over another pool of the task, with the same language model and encoder.

        Args:
            seed: The seed of the draw; see `Task.redrawn`.

        Returns:
            The workspace.

        Raises:
            UsageError: When the task has no rows to draw another pool from.
        """
        return self.beside(self.task.redrawn(seed))

    def beside(self, task: Task) -> Workspace:
        """Makes a workspace over another task, with the same language model and encoder.

        Args:
            task: The task; what it says of models is not looked at but for scoring and calibration.

        Returns:
            The workspace.
        """
        made = Workspace(task, use_store=self.use_store, progress=self.progress)
        vars(made)["engine"] = made._engine_of(self.engine.lm)
        vars(made)["encoder"] = self.encoder
        return made

    @cached_property
    def engine(self) -> InferenceEngine:
        """The inference engine over the task's language model, template and pool."""
        store = score_store_path() if self.use_store else None
        return self._engine_of(load_language_model(self.task.lm, store=store, progress=self.progress))

    @property
    def usage(self) -> Usage:
        """What was asked of the language model so far; nothing when it was not needed yet."""
        engine: InferenceEngine | None = self.__dict__.get("engine")
        return Usage() if engine is None else engine.lm.usage

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """The task's sentence encoder."""
        return SentenceEncoder.load(self.task.encoder.model)

    def _engine_of(self, lm: LanguageModel) -> InferenceEngine:
        task = self.task
        return InferenceEngine(lm, task.template, task.pool, scoring=task.lm.scoring, calibration=task.lm.calibration)
