"""Fine-tunes a sentence-transformers model on planned batches of texts, and keeps the best weights on the way.

All that is particular to the Hugging Face trainer is here: seeds, callbacks, checkpoints, logging. This module knows
nothing of examples, pools or mining.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.tensorboard import SummaryWriter
from transformers import PrinterCallback
from transformers.integrations import TensorBoardCallback

from policies.evaluation_points import EvaluationPoints, evaluation_points, whole_checkpoint
from policies.own_randomness import own_randomness
from policies.retriever_loss import LossConfig, RetrieverLoss
from selector.errors import ShotsmithError
from selector.progress import hidden_library_bars
from selector.retrieval.encoder import has_two_encoders

LOGGED_POINTS = 50  # of the loss curve


class TextRow(NamedTuple):
    """One row of a batch.

    Attributes:
        texts: The query's, its positive's, its negatives'.
        target: What `RetrieverLoss` calls the label of the row.
    """

    texts: tuple[str, ...]
    target: tuple[float, ...]


@dataclass(frozen=True)
class FineTuningConfig:
    """How weights are changed.

    Attributes:
        learning_rate: Peak learning rate of AdamW; falls linearly to 0.
        warmup_ratio: Share of the steps over which the learning rate rises.
        evaluations: How often the model is evaluated at least; after each epoch it is anyway.
        patience: Evaluations without a better one until training ends.
        seed: Seeds dropout.
    """

    learning_rate: float
    warmup_ratio: float
    evaluations: int
    patience: int
    seed: int


def fine_tune(
    model: SentenceTransformer,
    epochs: Sequence[Sequence[Sequence[TextRow]]],
    *,
    loss: LossConfig,
    config: FineTuningConfig,
    folder: Path,
    evaluate: Callable[[], float] | None = None,
    advance: Callable[[int], None],
) -> list[float]:
    """Changes a model's weights, and leaves those of the best evaluation, which may be those it came with.

    Args:
        model: The model; changed in place.
        epochs: Batches of each epoch in training order; all rows have the same number of texts.
        loss: What is minimised.
        config: The settings.
        folder: Where checkpoints and logs (folder/tensorboard) go; training goes on from a whole checkpoint there.
        evaluate: Measures the model as it is, higher is better; None keeps the last weights.
        advance: Called with the steps done.

    Returns:
        The evaluations, that before training first; empty without `evaluate`.

    Raises:
        ShotsmithError: When the weights are no longer numbers.
    """
    batches = [batch for epoch in epochs for batch in epoch]
    columns = _columns(len(batches[0][0].texts))
    arguments = _arguments([len(batch) for batch in batches], config, folder)
    if has_two_encoders(model):
        arguments.router_mapping = {name: "query" if name == "query" else "document" for name in columns}
    points = evaluation_points(np.cumsum([len(epoch) for epoch in epochs]).tolist(), config.evaluations)
    writer = SummaryWriter(str(folder / "tensorboard"))
    given: dict[str, Any] = {"folder": folder, "evaluate": evaluate, "patience": config.patience, "advance": advance}
    stages = EvaluationPoints(
        model, points, **given, log=lambda value, step: writer.add_scalar("evaluation", value, step)
    )
    with own_randomness():
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=_dataset(batches, columns),
            loss=RetrieverLoss(model, loss),
            callbacks=[stages, TensorBoardCallback(writer)],
        )
        trainer.remove_callback(PrinterCallback)
        checkpoint = whole_checkpoint(folder)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finite = all(bool(torch.isfinite(weights).all()) for weights in model.parameters())
    stages.restore_best()
    if not finite:
        raise ShotsmithError(
            f"training diverged at learning rate {config.learning_rate}",
            expected="finite weights",
            remedy="Lower the learning rate.",
        )
    return stages.evaluations


def _columns(texts: int) -> list[str]:
    return ["query", "positive", *(f"negative_{number}" for number in range(texts - 2))]


def _dataset(batches: Sequence[Sequence[TextRow]], columns: Sequence[str]) -> Dataset:
    rows = [row for batch in batches for row in batch]
    texts = {name: [row.texts[at] for row in rows] for at, name in enumerate(columns)}
    return Dataset.from_dict({**texts, "label": [list(row.target) for row in rows]})


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
        save_strategy="no",  # `EvaluationPoints` asks for checkpoints
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
    """The trainer without what nobody reads: a generated model card, and its own arguments pickled."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Adds nothing: `policies.epr` writes a card."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Writes weights into a checkpoint."""
        with hidden_library_bars():
            self.model.save_pretrained(str(output_dir), create_model_card=False)
