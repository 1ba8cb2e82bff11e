"""How a retriever is trained: one frozen record, checked where it is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from policies.label_rule import LabelRule
from selector.errors import UsageError

ROWS = 2000  # trained on by default: six minutes on two cores for texts of one sentence


@dataclass(frozen=True)
class RetrieverTrainingConfig:
    """How the retriever is trained.

    Attributes:
        epochs: Rows drawn for each training query, at most; None draws about `ROWS` in all.
        evaluations: How often dev judges during training, at least; after each epoch it does anyway.
        patience: Evaluations without a better one until training ends.
        batch_size: The most rows in a batch; at least 2.
        learning_rate: Peak learning rate.
        rule: Which scored candidates are good and which are bad.
        hard_negatives: Of a row.
        unscored: How many members of the pool that the language model has not scored are trained on at most, with
            labels as scores; 0 trains on mined queries alone.
        contrastive: Weight of the contrastive loss.
        distillation: Weight of the distillation loss.
        teacher_temperature: Of the language model's scores in distillation, nats.
        scale: Cosine similarities are multiplied by it before the softmax.
        encoders: 1 shared by queries and demonstrations, or 2.
        labelled_demonstrations: Whether the text of a demonstration ends with its label.
        warmup_ratio: Share of the steps over which the learning rate rises.
        max_seq_length: Longest text, tokens; None leaves it to the base encoder.
        seed: Seeds rows, batches and dropout; on a CPU the same seed gives the same weights.
    """

    epochs: int | None = None
    evaluations: int = 4
    patience: int = 4
    batch_size: int = 16
    learning_rate: float = 5e-5
    rule: LabelRule = field(default_factory=LabelRule)
    hard_negatives: int = 1
    unscored: int = 2000
    contrastive: float = 1.0
    distillation: float = 0.0
    teacher_temperature: float = 1.0
    scale: float = 20.0
    encoders: int = 1
    labelled_demonstrations: bool = True
    warmup_ratio: float = 0.1
    max_seq_length: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        optional = (1 if value is None else value for value in (self.epochs, self.max_seq_length))
        counts = (*optional, self.evaluations, self.patience, self.batch_size - 1, self.hard_negatives)
        weights = (self.contrastive, self.distillation, float(self.unscored))
        rates = (self.learning_rate, self.scale, self.teacher_temperature, self.contrastive + self.distillation)
        if not (
            min(counts) >= 1
            and min(weights) >= 0
            and all(rate > 0 for rate in rates)
            and 0 <= self.warmup_ratio <= 1
            and self.encoders in (1, 2)
        ):
            raise UsageError(
                f"retriever training is set to {self}",
                expected="counts of 1 or more, a batch size of 2 or more, positive rates, one loss with a weight "
                "above 0, a warm-up ratio from 0 to 1, 1 or 2 encoders",
                remedy="Correct the setting.",
            )

    def epochs_for(self, queries: int) -> int:
        """Gives the number of epochs.

        Args:
            queries: How many training queries there are.

        Returns:
            `epochs`, or as many as draw about `ROWS` rows; at least 1.
        """
        return self.epochs if self.epochs is not None else max(1, round(ROWS / max(1, queries)))
