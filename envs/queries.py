"""Which labelled queries reward a policy and which judge it; both without the test split.

This module knows nothing of environments, learners or language models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from selector.errors import EmptyPoolError, UnknownNameError
from selector.types import Example

SPLITS: Final = ("reward", "dev")


class TrainingQueries(NamedTuple):
    """The queries of a training; no query is in both.

    Attributes:
        rewarding: The policy is rewarded on them.
        judging: Its weights are chosen on them.
    """

    rewarding: tuple[Example, ...]
    judging: tuple[Example, ...]

    def of_split(self, name: str) -> tuple[Example, ...]:
        """Gives the queries that an environment calls by a name.

        Args:
            name: One of `SPLITS`.

        Returns:
            The queries.

        Raises:
            UnknownNameError: When it is another name.
        """
        check_split(name)
        return self.rewarding if name == "reward" else self.judging


def check_split(name: str) -> None:
    """Makes sure that queries may be taken from a split.

    Args:
        name: Its name.

    Raises:
        UnknownNameError: When it is none of `SPLITS`.
    """
    if name not in SPLITS:
        raise UnknownNameError("split", name, known=SPLITS)


def training_queries(reward: Sequence[Example], dev: Sequence[Example]) -> TrainingQueries:
    """Gives a task's reward and dev queries; without reward queries, three quarters of the dev queries and the last.

    Args:
        reward: The task's reward queries; may be none.
        dev: Its dev queries.

    Returns:
        The queries.

    Raises:
        EmptyPoolError: When there is no reward query, and too few dev queries to give some away.
    """
    if reward:
        return TrainingQueries(tuple(reward), tuple(dev))
    if len(dev) < 2:
        raise EmptyPoolError(
            f"the task has no reward queries, and its dev queries are {len(dev)}",
            expected="reward queries, or at least 2 dev queries, three quarters of which take their place",
            remedy="Raise [data] reward_size or dev_size in the task file.",
        )
    rewarding = 3 * len(dev) // 4
    return TrainingQueries(tuple(dev[:rewarding]), tuple(dev[rewarding:]))
