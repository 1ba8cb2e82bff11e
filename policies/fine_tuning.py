"""Fine-tunes a sentence-transformers model on planned batches of (query, positive, negative) texts.

All that is particular to the Hugging Face trainer is here: seeds, callbacks, logging. This module knows nothing of
examples, pools or mining.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.utils.tensorboard import SummaryWriter
from transformers import PrinterCallback, TrainerCallback
from transformers.integrations import TensorBoardCallback

from selector.errors import ShotsmithError

TextRow = tuple[str, str, str]
LOGGED_POINTS = 50  # of the loss curve


@dataclass(frozen=True)
class FineTuningConfig:
    """How weights are changed.

    Attributes:
        learning_rate: Peak learning rate of AdamW; falls linearly to 0.
        warmup_ratio: Share of the steps over which the learning rate rises.
        scale: Cosine similarities are multiplied by it before the softmax.
        seed: Seeds dropout.
    """

    learning_rate: float
    warmup_ratio: float
    scale: float
    seed: int


def fine_tune(
    model: SentenceTransformer,
    batches: Sequence[Sequence[TextRow]],
    *,
    config: FineTuningConfig,
    folder: Path,
    advance: Callable[[int], None],
) -> None:
    """Changes a model's weights so that each query comes nearer to its positive than to all else in its batch.

    The loss is the negative log-likelihood of the positive among all positives and negatives of the batch (in-batch
    negatives; Karpukhin et al., 2020) over scaled cosine similarities.

    Args:
        model: The model; changed in place.
        batches: Batches of (query, positive, negative) texts in training order.
        config: The settings.
        folder: Where logs go: folder/tensorboard.
        advance: Called with 1 after each step.

    Raises:
        ShotsmithError: When the weights are no longer numbers.
    """
    columns = zip(*(row for batch in batches for row in batch), strict=True)
    dataset = Dataset.from_dict(dict(zip(("query", "positive", "negative"), map(list, columns), strict=True)))
    arguments = _arguments([len(batch) for batch in batches], config, folder)
    with _own_randomness():
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            loss=MultipleNegativesRankingLoss(model, scale=config.scale),
            callbacks=[_Steps(advance), TensorBoardCallback(SummaryWriter(str(folder / "tensorboard")))],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    if not all(bool(torch.isfinite(weights).all()) for weights in model.parameters()):
        raise ShotsmithError(
            f"training diverged at learning rate {config.learning_rate}",
            expected="finite weights",
            remedy="Lower the learning rate.",
        )


def _arguments(lengths: Sequence[int], config: FineTuningConfig, folder: Path) -> SentenceTransformerTrainingArguments:
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=1,  # the batches hold the rows of every epoch
        per_device_train_batch_size=max(lengths),
        batch_sampler=lambda dataset, **_: PlannedBatches(dataset, lengths),
        learning_rate=config.learning_rate,
        warmup_steps=int(config.warmup_ratio * len(lengths)),
        seed=config.seed,
        logging_steps=max(1, len(lengths) // LOGGED_POINTS),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


class PlannedBatches(DefaultBatchSampler):  # type: ignore[misc]
    """Gives consecutive rows as batches of planned lengths.

    Args:
        dataset: The rows, batch after batch.
        lengths: How many rows each batch has.
    """

    def __init__(self, dataset: Dataset, lengths: Sequence[int]) -> None:
        super().__init__(dataset, batch_size=max(lengths), drop_last=False)
        self._lengths = list(lengths)

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for length in self._lengths:
            yield list(range(start, start + length))
            start += length

    def __len__(self) -> int:
        return len(self._lengths)


class _Trainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """The trainer without the generated model card: `policies.epr` writes its own."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Adds nothing."""


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Tells how far training is."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Counts one step."""
        self._advance(1)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Puts the global generators back, which the trainer seeds and dropout draws from."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)  # noqa: NPY002
