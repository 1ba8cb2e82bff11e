"""Tests that a training neither reads nor changes the caller's random numbers, and that one that diverges ends."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.planted_corpus import planted_corpus_problem
from policies.corpus_config import CorpusTrainingConfig
from policies.offline_dqn import train_corpus_policy
from policies.own_randomness import own_randomness
from policies.runs import Provenance
from selector.errors import ShotsmithError


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    torch.manual_seed(number)


@pytest.mark.parametrize("fails", [False, True])
def test_the_generators_are_put_back(fails: bool) -> None:
    """Guards all three generators, behind an error too."""
    with torch.random.fork_rng():
        seed(7)
        expected = drawn()
        seed(7)
        with pytest.raises(KeyboardInterrupt) if fails else nullcontext(), own_randomness():
            seed(8)
            drawn()
            if fails:
                raise KeyboardInterrupt
        assert drawn() == expected


def test_a_training_that_diverges_ends(tmp_path: Path) -> None:
    """Guards against weights that are no numbers, which were kept as the best and exported."""
    problem, _, _ = planted_corpus_problem()
    config = CorpusTrainingConfig(
        shots=3, candidates=10, episodes=12, online_episodes=0, steps=60, learning_rate=1e30, gradient_norm=1e30
    )
    provenance = Provenance("toy", labelled_demonstrations=False, fingerprints={})
    with pytest.raises(ShotsmithError, match="--learning-rate"):
        train_corpus_policy(problem, problem, out=tmp_path, config=config, provenance=provenance)
