"""What happens at the end of an epoch: evaluation, the best weights kept, early stopping, a checkpoint.

This module knows the trainer's callbacks and nothing of texts or losses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

WHOLE_FILE = "whole"  # stands in a checkpoint that was written to its end
BEST_FILE, HISTORY_FILE = "best.safetensors", "evaluations.json"


class Epochs(TrainerCallback):  # type: ignore[misc]
    """Counts steps, and acts after the last step of each epoch.

    Args:
        model: The model in training.
        ends: The step after which each epoch ends.
        folder: Where the best weights and the evaluations are kept.
        evaluate: Measures the model, higher is better; None for no evaluation.
        patience: Epochs without a better evaluation until training stops.
        advance: Called with the steps done.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        ends: Sequence[int],
        *,
        folder: Path,
        evaluate: Callable[[], float] | None,
        patience: int,
        advance: Callable[[int], None],
    ) -> None:
        self._model = model
        self._ends = set(ends)
        self._folder = folder
        self._evaluate = evaluate
        self._patience = patience
        self._advance = advance
        self.evaluations: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Takes up what the checkpoint had: its steps and its evaluations."""
        self._advance(state.global_step)
        passed = sum(end <= state.global_step for end in self._ends)
        if passed and (self._folder / HISTORY_FILE).is_file():
            # A checkpoint may be older than the last evaluation, which is then made again.
            self.evaluations = json.loads((self._folder / HISTORY_FILE).read_text(encoding="utf-8"))[:passed]
        self._stop_if_patience_ended(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Counts one step; ends an epoch."""
        self._advance(1)
        if state.global_step not in self._ends:
            return
        control.should_save = True
        if self._evaluate is None:
            return
        self._model.eval()
        value = self._evaluate()
        self._model.train()
        if not self.evaluations or value > max(self.evaluations):
            self._write_best()
        self.evaluations.append(value)
        (self._folder / HISTORY_FILE).write_text(json.dumps(self.evaluations), encoding="utf-8")
        self._stop_if_patience_ended(control)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Marks the checkpoint as whole."""
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE_FILE).touch()

    def restore_best(self) -> None:
        """Puts the weights of the best epoch back; without evaluations the last ones stay."""
        if self.evaluations:
            self._model.load_state_dict(load_file(self._folder / BEST_FILE))

    def _write_best(self) -> None:
        scratch = self._folder / (BEST_FILE + ".part")
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self._model.state_dict().items()}
        save_file(weights, scratch)
        scratch.replace(self._folder / BEST_FILE)

    def _stop_if_patience_ended(self, control: Any) -> None:
        if self.evaluations:
            since_best = len(self.evaluations) - 1 - self.evaluations.index(max(self.evaluations))
            control.should_training_stop = since_best >= self._patience


def whole_checkpoint(folder: Path) -> Path | None:
    """Finds where an interrupted training goes on.

    Args:
        folder: The folder of the training.

    Returns:
        The newest checkpoint that was written to its end, or None.
    """
    whole = [marker.parent for marker in (folder / "trainer").glob(f"checkpoint-*/{WHOLE_FILE}")]
    return max(whole, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]), default=None)
