"""The decision problem's rules, once for the single and the vectorised environment.

An episode is a query and the candidates chosen so far. A batch of episodes steps together with one call to the scorer.
This module knows nothing of Gymnasium or language models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from envs.rewards import PotentialScorer
from selector.errors import EmptyPoolError, ShotsmithError, UnknownNameError, UsageError
from selector.learned.constraints import Constraints
from selector.learned.lm_features import PROMPT_VIEW, VIEWS, PromptReader, PromptView
from selector.learned.observation import Observation, observe, valid_actions
from selector.learned.shortlist import Shortlist
from selector.types import Selection

VIEWS_KEPT = 65_536  # states whose view by the language model is remembered


@dataclass(frozen=True)
class DecisionConfig:
    """The rules that can be chosen.

    Attributes:
        shots: H, the most demonstrations in a prompt; an episode ends with the H-th.
        size: K, the number of candidate actions; shorter shortlists are padded and masked.
        may_stop: Whether STOP (action K) may end an episode earlier.
        dense: Whether every step is rewarded with its gain in potential; else the last with all of it.
        max_per_label: How many demonstrations of one label a prompt may hold; None for no limit.
        token_budget: How many tokens its demonstrations may have together; None for no limit.
        lm_features: Whether observations tell what the language model says of the state.
        lm_view: What it is shown for that: "prompt", what is chosen so far, or "query", the query alone.
        per_label: How many of the candidates are the nearest of each label, per query; 0 where labels do not matter.
    """

    shots: int = 4
    size: int = 16
    may_stop: bool = False
    dense: bool = True
    max_per_label: int | None = None
    token_budget: int | None = None
    lm_features: bool = False
    lm_view: str = PROMPT_VIEW
    per_label: int = 0

    def __post_init__(self) -> None:
        if self.lm_view not in VIEWS:
            raise UnknownNameError("view of the language model", self.lm_view, known=VIEWS)
        if self.lm_view != PROMPT_VIEW and not self.lm_features:
            raise UsageError(
                f"the language model is to be shown the {self.lm_view}, and observations do not tell what it says",
                expected="lm_features with it",
                remedy="Set lm_features (--lm-features), or leave lm_view out.",
            )
        if self.per_label < 0:
            raise UsageError(f"per_label is {self.per_label}", expected="0 or more", remedy="Choose another number.")
        if self.shots < 1 or self.size < 1:
            raise UsageError(
                f"shots is {self.shots} and the shortlist size {self.size}",
                expected="1 or more of both",
                remedy="Choose other numbers.",
            )
        if self.shots > self.size:
            raise UsageError(
                f"{self.shots} demonstrations are to be chosen among {self.size} candidates",
                expected="as many candidates, or more",
                remedy="Ask for fewer shots, or for more candidates (--shortlist, --candidates).",
            )
        _ = self.constraints  # checks the limits

    @cached_property
    def constraints(self) -> Constraints:
        """What a prompt may hold."""
        return Constraints(self.max_per_label, self.token_budget)


@dataclass(frozen=True)
class Episode:
    """The state of one episode.

    Attributes:
        query: The number of the query.
        chosen: Places in the query's shortlist, in the order chosen.
        potential: What was last paid for, in units of the scorer.
    """

    query: int
    chosen: tuple[int, ...] = ()
    potential: float = 0.0


class Outcome(NamedTuple):
    """What a step led to.

    Attributes:
        episode: The state behind the step.
        reward: The step's reward.
        done: Whether the episode has ended.
    """

    episode: Episode
    reward: float
    done: bool


class DecisionProblem:
    """Queries with their shortlists, and the rules of choosing.

    Args:
        shortlists: One for each query number.
        scorer: Says what selections are worth.
        config: The rules.
        reader: Looks at states with the language model, where the rules say so.

    Raises:
        EmptyPoolError: When there is no query.
        UsageError: When a shortlist is longer than the number of candidate actions or lacks the token counts that a
            budget needs, or when features of the language model have no reader.
    """

    def __init__(
        self,
        shortlists: Sequence[Shortlist],
        scorer: PotentialScorer,
        config: DecisionConfig,
        *,
        reader: PromptReader | None = None,
    ) -> None:
        if not shortlists:
            raise EmptyPoolError("there is no query to choose for", expected="at least one", remedy="Supply queries.")
        longest = max(map(len, shortlists))
        if longest > config.size:
            raise UsageError(
                f"a shortlist has {longest} candidates",
                expected=f"at most {config.size}, the number of candidate actions",
                remedy="Raise the shortlist size.",
            )
        for shortlist in shortlists:
            config.constraints.allowed(shortlist, ())  # raises where token counts lack
        if config.lm_features != (reader is not None):
            raise UsageError(
                f"lm_features is {config.lm_features} and a reader is {'missing' if reader is None else 'given'}",
                expected="both or neither",
                remedy="Pass reader=EngineReader(engine, queries), or leave both out.",
            )
        self.shortlists = shortlists
        self.scorer = scorer
        self.config = config
        self.reader = reader
        self._views: dict[tuple[int, tuple[int, ...]], PromptView] = {}

    @property
    def width(self) -> int:
        """D, the length of an embedding."""
        return len(self.shortlists[0].query)

    def start(self, queries: Sequence[int]) -> list[Episode]:
        """Starts episodes with no demonstration.

        Args:
            queries: N query numbers.

        Returns:
            N episodes.
        """
        return [Episode(query, (), float(self._zero_shot[query])) for query in queries]

    @cached_property
    def _zero_shot(self) -> npt.NDArray[np.float64]:
        """What no demonstration is worth, for all queries: one call to the scorer, once."""
        return self._potentials([Episode(query) for query in range(len(self.shortlists))])

    def observe(self, episode: Episode) -> Observation:
        """Describes a state; see `selector.learned.observation.observe`.

        Args:
            episode: The state.

        Returns:
            The observation.
        """
        view = None
        if self.reader is not None:
            self.prepare([episode])
            view = self._views[episode.query, episode.chosen]
        config = self.config
        return observe(
            self.shortlists[episode.query],
            episode.chosen,
            size=config.size,
            horizon=config.shots,
            may_stop=config.may_stop,
            constraints=config.constraints,
            view=view,
        )

    def observe_all(self, episodes: Sequence[Episode]) -> list[Observation]:
        """Describes states; where observations ask the language model, all ask in one batch.

        Args:
            episodes: N states.

        Returns:
            N observations.
        """
        self.prepare(episodes)
        return [self.observe(episode) for episode in episodes]

    def prepare(self, episodes: Sequence[Episode]) -> None:
        """Asks the language model, in one batch, for all that observing these states will need.

        Args:
            episodes: N states.
        """
        if self.reader is None:
            return
        keys = list(dict.fromkeys((episode.query, episode.chosen) for episode in episodes))
        new = [key for key in keys if key not in self._views]
        if not new:
            return
        if len(self._views) > VIEWS_KEPT:
            self._views.clear()
            new = keys
        own = [self.shortlists[query] for query, _ in new]
        views = self.reader.read([query for query, _ in new], own, [chosen for _, chosen in new])
        self._views.update(zip(new, views, strict=True))

    def mask(self, episode: Episode) -> npt.NDArray[np.bool_]:
        """Tells which actions are valid.

        Args:
            episode: The state.

        Returns:
            (K + 1,) bool; the last is STOP.
        """
        config = self.config
        return valid_actions(
            self.shortlists[episode.query],
            episode.chosen,
            size=config.size,
            horizon=config.shots,
            may_stop=config.may_stop,
            constraints=config.constraints,
        )

    def selection(self, episode: Episode) -> Selection:
        """Gives the demonstrations chosen so far.

        Args:
            episode: The state.

        Returns:
            Pool positions in prompt order: the last choice stands next to the query.
        """
        indices = self.shortlists[episode.query].indices
        return Selection.of(*(indices[place] for place in episode.chosen))

    def step(self, episodes: Sequence[Episode], actions: Sequence[int]) -> list[Outcome]:
        """Lets every episode take its action, with one call to the scorer for all of them.

        Args:
            episodes: N states.
            actions: N actions; 0 to K - 1 appends that candidate, K stops.

        Returns:
            N outcomes.

        Raises:
            ShotsmithError: When an action is not valid in its state.
        """
        moved = [self._moved(episode, action) for episode, action in zip(episodes, actions, strict=True)]
        # A dense episode that stops has been paid for; a terminal one has not.
        paid = [number for number, (_, done, changed) in enumerate(moved) if (changed if self.config.dense else done)]
        values = self._potentials([moved[number][0] for number in paid])
        potentials = dict(zip(paid, values, strict=True))
        outcomes = []
        for number, (episode, done, _) in enumerate(moved):
            before = episodes[number].potential
            now = float(potentials.get(number, before))
            outcomes.append(Outcome(Episode(episode.query, episode.chosen, now), now - before, done))
        return outcomes

    def _moved(self, episode: Episode, action: int) -> tuple[Episode, bool, bool]:
        """The state behind an action, whether it is the last, and whether the demonstrations changed."""
        mask = self.mask(episode)
        if not 0 <= action < len(mask) or not mask[action]:
            raise ShotsmithError(
                f"action {action} is not valid after the choices {list(episode.chosen)}",
                expected=f"one of {np.flatnonzero(mask).tolist()}",
                remedy="Choose by action_masks().",
            )
        if action == self.config.size:
            return episode, True, False
        chosen = (*episode.chosen, action)
        moved = Episode(episode.query, chosen, episode.potential)
        full = len(chosen) == min(self.config.shots, len(self.shortlists[episode.query]))
        return moved, full, True

    def _potentials(self, episodes: Sequence[Episode]) -> npt.NDArray[np.float64]:
        if not episodes:
            return np.zeros(0)
        return self.scorer.potentials(
            [episode.query for episode in episodes], [self.selection(episode) for episode in episodes]
        )
