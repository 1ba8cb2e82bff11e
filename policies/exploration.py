"""How further episodes of the per-corpus problem are played: by the learned values, and from good prompts on.

An episode either follows the learned values, with a share of random choices, or returns to one of the best prompts so
far and chooses anew in a single place: first return, then explore (Ecoffet et al., 2021). Prompts that differ in one
demonstration are worth similar things, so the neighbours of good prompts are better than what random episodes find.
What comes behind the new choice is kept where it is still valid, and else chosen by the learned values as well.
This module knows episodes and values of actions, not learners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from envs.dynamics import Episode
from policies.episodes import Chooser, Mask, StoredEpisode

ELITES: Final = 8  # the best prompts, to one of which an episode returns
Values = Callable[[Episode], npt.NDArray[np.float32]]


def exploring_chooser(values: Values, *, chance: float, rng: np.random.Generator) -> Chooser:
    """Makes what follows the learned values, but for a share of random choices.

    Args:
        values: From a state to the (K + 1,) values of its actions.
        chance: That a choice is random.
        rng: Draws.

    Returns:
        The chooser.
    """

    def choose(episode: Episode, mask: Mask) -> int:
        if rng.random() < chance:
            return int(rng.choice(np.flatnonzero(mask)))
        return int(np.where(mask, values(episode), -np.inf).argmax())

    return choose


def returning_chooser(
    values: Values, *, known: Sequence[StoredEpisode], stop: int, rng: np.random.Generator
) -> Chooser:
    """Makes what repeats one of the best episodes but for one demonstration, drawn anew by the learned values.

    Args:
        values: From a state to the (K + 1,) values of its actions, in standard deviations of returns.
        known: The episodes so far, at least one; of equal ones the earlier is the better.
        stop: The action that ends an episode.
        rng: Draws.

    Returns:
        The chooser.
    """
    returns = {episode.actions: sum(episode.rewards) for episode in known}
    best = sorted(returns, key=lambda actions: -returns[actions])[:ELITES]
    followed = best[int(rng.integers(len(best)))]
    stops = len(followed) > 1 and followed[-1] == stop  # a prompt without demonstrations has nothing else to change
    changed = int(rng.integers(len(followed) - stops))
    step = -1

    def choose(episode: Episode, mask: Mask) -> int:
        nonlocal step
        step += 1
        allowed = mask.copy()
        if step < len(followed) and mask[followed[step]]:
            if step != changed:
                return followed[step]
            allowed[followed[step]] = mask.sum() == 1
        scores = np.where(allowed, values(episode), -np.inf).astype(np.float64)
        chances = np.exp(scores - scores.max())
        return int(rng.choice(len(mask), p=chances / chances.sum()))

    return choose
