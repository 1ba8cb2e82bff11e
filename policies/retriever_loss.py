"""Losses that teach an encoder to rank demonstrations as the language model does.

Formulas over similarity matrices, and a module that feeds them from the columns of a training batch. Nothing here
knows texts, pools or trainers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

NO_CLASS = -1  # of a query whose target is free text: no other demonstration is known to be good for it


def contrastive_loss(similarities: Tensor, positives: Tensor, allowed: Tensor) -> Tensor:
    """Negative log-likelihood of each query's positive among what may be a negative (Karpukhin et al., 2020, eq. 2).

    Args:
        similarities: (B, M) scaled similarity of each query to each demonstration of the batch.
        positives: (B,) int64 column of each query's positive.
        allowed: (B, M) bool; columns that may stand in the denominator. The positive always does.

    Returns:
        Mean over queries, nats.
    """
    rows = torch.arange(len(similarities), device=similarities.device)
    kept = allowed.clone()
    kept[rows, positives] = True
    return nn.functional.cross_entropy(similarities.masked_fill(~kept, -torch.inf), positives)


def distillation_loss(similarities: Tensor, teacher: Tensor) -> Tensor:
    """Divergence of the encoder's distribution over a query's candidates from the language model's (LLM-R, eq. 5).

    Args:
        similarities: (B, C) scaled similarity of each query to its own candidates.
        teacher: (B, C) the language model's scores of them, nats over its temperature; lower ones may be -inf.

    Returns:
        KL(teacher || encoder), mean over queries, nats.
    """
    return nn.functional.kl_div(
        similarities.log_softmax(dim=1), teacher.softmax(dim=1), reduction="batchmean", log_target=False
    )


def embedded_columns(model: Any, columns: Iterable[dict[str, Any]]) -> list[Tensor]:
    """Embeds the columns of a batch, texts of like length together: a column is as long as its longest text.

    Args:
        model: The sentence-transformers model.
        columns: C columns of B tokenised texts, padded on the right. Columns that are routed to different encoders are
            embedded one by one.

    Returns:
        C tensors (B, D).
    """
    given = [dict(column) for column in columns]
    padded = [
        {name for name, value in column.items() if isinstance(value, Tensor) and value.ndim == 2} for column in given
    ]
    shared = [{name: value for name, value in column.items() if name not in padded[0]} for column in given]
    if "attention_mask" not in padded[0] or any(one != padded[0] for one in padded) or not _alike(shared):
        return [model(column)["sentence_embedding"] for column in given]
    masks = [column["attention_mask"] for column in given]
    lengths = torch.cat([mask.sum(dim=1) for mask in masks])
    longest = max(mask.shape[1] for mask in masks)
    together = {
        name: torch.cat([nn.functional.pad(column[name], (0, longest - column[name].shape[1])) for column in given])
        for name in padded[0]
    }
    order = lengths.argsort(stable=True)
    parts = []
    for chosen in torch.split(order, len(masks[0])):
        width = int(lengths[chosen].max())
        texts = {name: value[chosen, :width] for name, value in together.items()}
        parts.append(model({**shared[0], **texts})["sentence_embedding"])
    back = order.argsort()
    return list(torch.split(torch.cat(parts)[back], len(masks[0])))


def _alike(columns: Sequence[dict[str, Any]]) -> bool:
    """Whether what stands beside the texts is plain and the same for all columns: then nothing is routed by it."""
    plain = all(isinstance(value, str | int | bool | None) for column in columns for value in column.values())
    return plain and all(column == columns[0] for column in columns)


@dataclass(frozen=True)
class LossConfig:
    """What is minimised.

    Attributes:
        scale: Cosine similarities are multiplied by it: the inverse of the temperature.
        distillation: Weight of the distillation loss.
        contrastive: Weight of the contrastive loss.
        teacher_temperature: The language model's scores are divided by it before their softmax, nats.
    """

    scale: float
    distillation: float
    contrastive: float
    teacher_temperature: float


class RetrieverLoss(nn.Module):
    """The weighted sum of both losses, as sentence-transformers' trainer calls it.

    The columns are query, positive, and further candidates of the query. The label of a row is a vector: the class of
    the query, the classes of its C candidates, and their C scores. Another row's demonstration that bears the query's
    class is no negative.

    Args:
        model: The sentence-transformers model.
        config: The weights.
    """

    def __init__(self, model: Any, config: LossConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Computes the loss of a batch.

        Args:
            sentence_features: 1 + C columns of tokenised texts.
            labels: (B, 1 + 2C) classes and scores.

        Returns:
            A scalar, nats.
        """
        columns = [nn.functional.normalize(rows, dim=1) for rows in embedded_columns(self.model, sentence_features)]
        queries, candidates = columns[0], torch.stack(columns[1:], dim=1)  # (B, D), (B, C, D)
        return self.of_embeddings(queries, candidates, labels)

    def of_embeddings(self, queries: Tensor, candidates: Tensor, labels: Tensor) -> Tensor:
        """Computes the loss from unit embeddings.

        Args:
            queries: (B, D).
            candidates: (B, C, D); the first of each row is its positive.
            labels: (B, 1 + 2C) classes and scores.

        Returns:
            A scalar, nats.
        """
        batch, count, width = candidates.shape
        loss = queries.new_zeros(())
        if self.config.distillation:
            own = self.config.scale * torch.einsum("bd,bcd->bc", queries, candidates)
            loss = loss + self.config.distillation * distillation_loss(
                own, labels[:, 1 + count :] / self.config.teacher_temperature
            )
        if self.config.contrastive:
            every = self.config.scale * queries @ candidates.reshape(batch * count, width).T  # (B, B * C)
            classes, of_candidates = labels[:, :1], labels[:, 1 : 1 + count].reshape(1, batch * count)
            allowed = (classes != of_candidates) | (classes == NO_CLASS)
            rows = torch.arange(batch, device=queries.device)
            own_columns = torch.arange(batch * count, device=queries.device) // count == rows[:, None]
            loss = loss + self.config.contrastive * contrastive_loss(every, rows * count, allowed | own_columns)
        return loss
