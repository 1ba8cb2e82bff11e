"""What happens at points of a training: evaluation, the best weights kept, early stopping, a checkpoint.

This module knows the trainer's callbacks and nothing of texts or losses.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from selector.data.paths import write_whole

WHOLE_FILE = "whole"  # stands in a checkpoint that was written to its end
KEPT = 2  # checkpoints; the newest may be cut short
BEST_FILE, HISTORY_FILE = "best.safetensors", "evaluations.json"


class EvaluationPoints(TrainerCallback):  # type: ignore[misc]
    """Counts steps, and acts before the first step and after some others.

    The model as it comes is evaluated too: where training makes it worse, it is what stays.

    Args:
        model: The model in training.
        points: The steps after which the model is evaluated and a checkpoint is written.
        folder: Where the best weights and the evaluations are kept.
        evaluate: Measures the model, higher is better; None for no evaluation.
        patience: Evaluations without a better one until training stops.
        advance: Called with the steps done.
        log: Called with every evaluation and the step after which it was made.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        points: Sequence[int],
        *,
        folder: Path,
        evaluate: Callable[[], float] | None,
        patience: int,
        advance: Callable[[int], None],
        log: Callable[[float, int], None] = lambda value, step: None,
    ) -> None:
        self._model = model
        self._points = set(points)
        self._folder = folder
        self._evaluate = evaluate
        self._patience = patience
        self._advance = advance
        self._log = log
        self.evaluations: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Takes up what the checkpoint had, its steps and its evaluations; else evaluates the model as it came."""
        self._advance(state.global_step)
        passed = sum(point <= state.global_step for point in self._points)
        if passed:
            # A checkpoint may be older than the last evaluation, which is then made again.
            self.evaluations = read_evaluations(self._folder)[: passed + 1]
        if self._evaluate is not None and not self.evaluations:
            self._judge(self._evaluate, state.global_step)
        control.should_training_stop = self._ended

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Counts one step; evaluates after some."""
        self._advance(1)
        if self._ended:  # the trainer looks at it only behind a step
            control.should_training_stop = True
            return
        if state.global_step not in self._points:
            return
        control.should_save = True
        if self._evaluate is not None:
            self._judge(self._evaluate, state.global_step)
            control.should_training_stop = self._ended

    def _judge(self, evaluate: Callable[[], float], step: int) -> None:
        self._model.eval()
        value = evaluate()
        self._model.train()
        if not self.evaluations or value > max(self.evaluations):
            self._write_best()
        self.evaluations.append(value)
        self._log(value, step)
        write_whole(self._folder / HISTORY_FILE, json.dumps(self.evaluations))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Marks the checkpoint as whole, and deletes all but the last two."""
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE_FILE).touch()
        for passed in sorted(Path(args.output_dir).glob("checkpoint-*"), key=_step)[:-KEPT]:
            shutil.rmtree(passed)

    def restore_best(self) -> None:
        """Puts the best weights back; without evaluations the last ones stay."""
        if self.evaluations:
            self._model.load_state_dict(load_file(self._folder / BEST_FILE))

    def _write_best(self) -> None:
        scratch = self._folder / (BEST_FILE + ".part")
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self._model.state_dict().items()}
        save_file(weights, scratch)
        scratch.replace(self._folder / BEST_FILE)

    @property
    def _ended(self) -> bool:
        """Whether patience has ended."""
        if not self.evaluations:
            return False
        return len(self.evaluations) - 1 - self.evaluations.index(max(self.evaluations)) >= self._patience


def read_evaluations(folder: Path) -> list[float]:
    """Reads what a training has been evaluated to.

    Args:
        folder: The folder of the training.

    Returns:
        The evaluations, that before training first; none where there is no file, or a damaged one.
    """
    try:
        found = json.loads((folder / HISTORY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [float(value) for value in found] if isinstance(found, list) else []


def evaluation_points(ends: Sequence[int], at_least: int) -> list[int]:
    """Chooses the steps after which a training is evaluated.

    Args:
        ends: The step after which each epoch ends; the last is that of the training.
        at_least: Points wanted; fewer where there are fewer steps.

    Returns:
        The end of every epoch, and as many evenly spaced steps as were wanted; ascending.
    """
    spaced = (round(ends[-1] * number / at_least) for number in range(1, at_least + 1))
    return sorted({*ends, *spaced} - {0})


def whole_checkpoint(folder: Path) -> Path | None:
    """Finds where an interrupted training goes on.

    Args:
        folder: The folder of the training.

    Returns:
        The newest checkpoint that was written to its end, or None.
    """
    whole = [marker.parent for marker in (folder / "trainer").glob(f"checkpoint-*/{WHOLE_FILE}")]
    return max(whole, key=_step, default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
