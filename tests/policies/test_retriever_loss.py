"""Tests of how a batch is embedded for the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from policies.retriever_loss import embedded_columns


class Averaging(nn.Module):
    """Embeds a text as the mean of its tokens' vectors, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.seen: list[dict[str, Any]] = []

    def forward(self, features: dict[str, Any]) -> dict[str, Tensor]:
        self.seen.append(features)
        mask = features["attention_mask"].unsqueeze(-1).float()
        return {"sentence_embedding": (self.table(features["input_ids"]) * mask).sum(1) / mask.sum(1)}


def column(*lengths: int, **beside: Any) -> dict[str, Any]:
    width = max(lengths)
    mask = torch.tensor([[1] * length + [0] * (width - length) for length in lengths])
    ids = torch.arange(1, len(lengths) * width + 1).reshape(len(lengths), width) % 20 * mask
    return {"input_ids": ids, "attention_mask": mask, **beside}


def test_columns_are_embedded_alike_with_less_padding() -> None:
    """Guards rows that come back in another order, texts cut short, and the padding that this is for."""
    columns = [column(2, 9, modality="text"), column(3, 2, modality="text"), column(8, 7, modality="text")]
    model = Averaging()
    apart = [model(one)["sentence_embedding"] for one in columns]
    model.seen.clear()
    together = embedded_columns(model, columns)
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other)
    assert [features["input_ids"].shape[1] for features in model.seen] == [2, 7, 9]
    assert all(features["modality"] == "text" for features in model.seen)


def test_columns_for_two_encoders_stay_apart() -> None:
    """Guards a query that is embedded by the encoder of the demonstrations."""
    columns = [column(2, 3, task="query"), column(9, 2, task="document")]
    model = Averaging()
    embedded_columns(model, columns)
    assert [features["task"] for features in model.seen] == ["query", "document"]
