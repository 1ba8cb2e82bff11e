"""Episodes of the per-corpus problem as they are collected and stored: what was chosen and what it was paid.

An episode is a line of JSON, appended when it has ended, so a kill costs at most the ones that were running. Each has a
random generator of its own, so that a collection that was cut ends as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.corpus import CorpusProblem
from envs.dynamics import Episode
from policies.stored_lines import append_lines, whole_lines
from selector.progress import SILENT, Progress

Mask = npt.NDArray[np.bool_]
Chooser = Callable[[Episode, Mask], int]


@dataclass(frozen=True)
class StoredEpisode:
    """An episode that has ended.

    Attributes:
        number: Its number in the collection.
        actions: What was chosen: places among the K candidates, or K for STOP.
        rewards: What each choice was paid.
    """

    number: int
    actions: tuple[int, ...]
    rewards: tuple[float, ...]


def roll_episodes(problem: CorpusProblem, choosers: Sequence[Chooser], *, first: int = 0) -> list[StoredEpisode]:
    """Plays episodes side by side, with one call to the scorer for each step of all of them.

    Args:
        problem: The problem.
        choosers: For each episode, what chooses: from a state and the valid actions to an action.
        first: The number of the first episode.

    Returns:
        The episodes.
    """
    states = problem.start([0] * len(choosers))
    actions: list[list[int]] = [[] for _ in choosers]
    rewards: list[list[float]] = [[] for _ in choosers]
    running = list(range(len(choosers)))
    while running:
        problem.prepare([states[number] for number in running])
        chosen = [choosers[number](states[number], problem.mask(states[number])) for number in running]
        outcomes = problem.step([states[number] for number in running], chosen)
        for number, action, outcome in zip(running, chosen, outcomes, strict=True):
            states[number] = outcome.episode
            actions[number].append(action)
            rewards[number].append(outcome.reward)
        running = [number for number, outcome in zip(running, outcomes, strict=True) if not outcome.done]
    return [
        StoredEpisode(first + at, tuple(own), tuple(paid))
        for at, (own, paid) in enumerate(zip(actions, rewards, strict=True))
    ]


def random_chooser(problem: CorpusProblem, number: int, *, seed: int) -> Chooser:
    """Makes what chooses at random: uniformly in even episodes, label by label in odd ones.

    Args:
        problem: The problem.
        number: The number of the episode; with the seed it seeds the choices.
        seed: Seeds the collection.

    Returns:
        The chooser.
    """
    rng = np.random.default_rng([seed, 0, number])
    labels = problem.candidates.shortlist.labels
    turns = rng.permutation(np.unique(labels))

    def choose(episode: Episode, mask: Mask) -> int:
        valid = np.flatnonzero(mask)
        if number % 2:
            candidates = valid[valid < len(labels)]
            turn = turns[len(episode.chosen) % len(turns)]
            balanced = candidates[labels[candidates] == turn]
            valid = next(some for some in (balanced, candidates, valid) if len(some))
        return int(rng.choice(valid))

    return choose


def collect_episodes(
    problem: CorpusProblem, path: Path, *, count: int, copies: int, seed: int, progress: Progress = SILENT
) -> list[StoredEpisode]:
    """Collects random episodes, or goes on with a collection.

    Args:
        problem: The problem.
        path: The file; what stands in it is kept.
        count: How many episodes there shall be.
        copies: How many are played side by side.
        seed: Seeds the choices.
        progress: Shows episodes.

    Returns:
        The episodes.

    Raises:
        ArtifactError: When what is stored is damaged.
        DiskFullError: When there is no room.
    """
    episodes = read_episodes(path)[:count]
    write_episodes(path, episodes)
    with progress.track(f"collect {count} random episodes", count) as advance:
        advance(len(episodes))
        while len(episodes) < count:
            numbers = range(len(episodes), min(len(episodes) + copies, count))
            choosers = [random_chooser(problem, number, seed=seed) for number in numbers]
            made = roll_episodes(problem, choosers, first=len(episodes))
            append_episodes(path, made)
            episodes += made
            advance(len(made))
    return episodes


def read_episodes(path: Path) -> list[StoredEpisode]:
    """Reads stored episodes; a last line torn by a kill is cut off.

    Args:
        path: The file; a missing one holds none.

    Returns:
        The episodes.

    Raises:
        ArtifactError: When a line is damaged.
    """
    return whole_lines(path, _episode, of="an episode")


def _episode(row: Any) -> StoredEpisode:
    return StoredEpisode(row["number"], tuple(row["actions"]), tuple(row["rewards"]))


def append_episodes(path: Path, episodes: Sequence[StoredEpisode]) -> None:
    """Adds episodes to a file; they are on the disk when this returns.

    Args:
        path: The file.
        episodes: The episodes.

    Raises:
        DiskFullError: When there is no room.
    """
    append_lines(path, map(asdict, episodes))


def write_episodes(path: Path, episodes: Sequence[StoredEpisode]) -> None:
    """Makes a file hold these episodes and no others.

    Args:
        path: The file.
        episodes: The episodes.

    Raises:
        DiskFullError: When there is no room.
    """
    scratch = path.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    append_episodes(scratch, episodes)
    scratch.replace(path)
