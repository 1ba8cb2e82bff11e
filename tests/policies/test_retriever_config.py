"""Tests of how a retriever is told to be trained."""

from __future__ import annotations

import pytest

from policies.retriever_config import RetrieverTrainingConfig
from selector.errors import UsageError


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": float("nan")}, {"warmup_ratio": 2.0}, {"scale": 0.0}]
)
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    """Guards against settings that fail far from where they were made."""
    with pytest.raises(UsageError):
        RetrieverTrainingConfig(**wrong)  # type: ignore[arg-type]


def test_the_default_amount_of_training_does_not_depend_on_the_pool() -> None:
    """Guards the time of a training: few queries are passed over several times, many once, and a setting is kept."""
    assert [RetrieverTrainingConfig().epochs_for(queries) for queries in (0, 100, 1000, 50_000)] == [2000, 20, 2, 1]
    assert RetrieverTrainingConfig(epochs=3).epochs_for(50_000) == 3
