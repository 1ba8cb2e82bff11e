"""Tests of how further episodes of the per-corpus problem are played."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.corpus import CorpusProblem
from envs.dynamics import DecisionConfig, Episode
from envs.planted_corpus import planted_corpus_problem
from policies.corpus_config import CorpusTrainingConfig
from policies.episodes import Chooser, StoredEpisode, read_episodes, roll_episodes
from policies.exploration import ELITES, exploring_chooser, returning_chooser
from policies.offline_dqn import EPISODES_FILE, ONLINE_FILE, train_corpus_policy
from policies.runs import Provenance

PROBLEM: CorpusProblem = planted_corpus_problem()[0]
SIZE = PROBLEM.config.size
KNOWN = [StoredEpisode(at, (at % SIZE, (at + 1) % SIZE, (at + 5) % SIZE), (0.0, 0.0, at / 40)) for at in range(SIZE)]
BEST = [episode.actions for episode in KNOWN[-ELITES:]]


def no_opinion(episode: Episode) -> npt.NDArray[np.float32]:
    """Values of actions that say nothing."""
    del episode
    return np.zeros(SIZE + 1, dtype=np.float32)


def fond_of_three(episode: Episode) -> npt.NDArray[np.float32]:
    """Values of actions that are sure of one."""
    values = no_opinion(episode)
    values[3] = 100.0
    return values


def played(chooser: Chooser, problem: CorpusProblem = PROBLEM) -> tuple[int, ...]:
    (made,) = roll_episodes(problem, [chooser])
    return made.actions


def changes(actions: tuple[int, ...]) -> int:
    """In how many places a prompt differs from the nearest of the best ones."""
    return min(sum(own != other for own, other in zip(actions, one, strict=True)) for one in BEST)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_good_prompt_is_repeated_but_for_one_choice(seed: int) -> None:
    """Guards what is returned to: one of the best, whole but for a single place, where something else is chosen."""
    shuffled = [KNOWN[at] for at in np.random.default_rng(seed).permutation(len(KNOWN))]
    actions = played(returning_chooser(no_opinion, known=shuffled, stop=SIZE, rng=np.random.default_rng(seed)))
    # What is chosen anew may be what stood later; that place is then chosen anew as well.
    assert 1 <= changes(actions) <= 2


def test_the_learned_values_choose_what_is_new() -> None:
    """Guards the change: it is the one that the values prefer, wherever the good prompt does not hold it."""
    seen = set()
    for seed in range(20):
        actions = played(returning_chooser(fond_of_three, known=KNOWN, stop=SIZE, rng=np.random.default_rng(seed)))
        if not any(3 in one for one in BEST if sum(a != b for a, b in zip(one, actions, strict=True)) == 1):
            assert 3 in actions
            seen.add(actions.index(3))
    assert seen == {0, 1, 2}


def test_every_place_and_every_good_prompt_is_visited() -> None:
    """Guards breadth: no place and none of the best prompts is left out, and none of the others is returned to."""
    places, followed = set(), set()
    for seed in range(300):
        actions = played(returning_chooser(no_opinion, known=KNOWN, stop=SIZE, rng=np.random.default_rng(seed)))
        for one in BEST:
            different = [at for at, (own, other) in enumerate(zip(actions, one, strict=True)) if own != other]
            if len(different) == 1:
                places.add(different[0])
                followed.add(one)
    assert places == {0, 1, 2}
    assert followed == set(BEST)


def test_what_was_played_twice_counts_once() -> None:
    """Guards the best prompts: one that was played again and again does not push the others out."""
    again = [StoredEpisode(100 + at, KNOWN[-1].actions, (0.0, 0.0, 0.5)) for at in range(50)]
    made = {
        played(returning_chooser(no_opinion, known=[*KNOWN, *again], stop=SIZE, rng=np.random.default_rng(seed)))
        for seed in range(60)
    }
    one = KNOWN[-1].actions
    assert any(sum(own != other for own, other in zip(actions, one, strict=True)) == 3 for actions in made)


def test_the_same_seed_plays_the_same() -> None:
    """Guards determinism, without which a resumed training would differ."""
    first, second = (
        played(returning_chooser(no_opinion, known=KNOWN, stop=SIZE, rng=np.random.default_rng(5))) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("places", [0, 1, 2])
def test_a_prompt_that_was_stopped_early_can_be_returned_to(places: int) -> None:
    """Guards STOP: a short prompt is left with as many demonstrations, or with none is followed by something."""
    problem = planted_corpus_problem(may_stop=True)[0]
    short = StoredEpisode(0, (*range(places), SIZE), (0.0,) * (places + 1))
    lengths = set()
    for seed in range(40):
        actions = played(
            returning_chooser(no_opinion, known=[short], stop=SIZE, rng=np.random.default_rng(seed)), problem
        )
        assert actions != short.actions
        lengths.add(actions.index(SIZE) if SIZE in actions else len(actions))
    assert places in lengths or not places


def test_where_limits_end_a_prompt_another_one_is_played() -> None:
    """Guards episodes against playing a known prompt again because only STOP, which limits forced, was drawn anew."""
    limited = CorpusProblem(PROBLEM.candidates, PROBLEM.scorer, DecisionConfig(shots=5, size=SIZE, max_per_label=1))
    labels = PROBLEM.candidates.shortlist.labels
    known = StoredEpisode(0, (*(int(np.flatnonzero(labels == one)[0]) for one in np.unique(labels)), SIZE), (0.0,) * 4)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        actions = played(returning_chooser(no_opinion, known=[known], stop=SIZE, rng=rng), limited)
        assert actions != known.actions
        assert actions[-1] == SIZE


def test_what_alone_is_valid_is_chosen_again() -> None:
    """Guards a place at which nothing else fits: its action was forbidden, and chances became no numbers."""
    pair = CorpusProblem(PROBLEM.candidates, PROBLEM.scorer, DecisionConfig(shots=SIZE, size=SIZE))
    known = StoredEpisode(0, tuple(range(SIZE)), (0.0,) * SIZE)
    made = {
        played(returning_chooser(no_opinion, known=[known], stop=SIZE, rng=np.random.default_rng(seed)), pair)
        for seed in range(60)
    }
    assert known.actions in made  # the last candidate that is left


def test_values_are_followed_but_for_a_share() -> None:
    """Guards exploration: without chance the values choose, with a chance of one they do not."""
    rng = np.random.default_rng(0)
    assert played(exploring_chooser(fond_of_three, chance=0.0, rng=rng)) == (3, 0, 1)
    firsts = [played(exploring_chooser(fond_of_three, chance=1.0, rng=rng))[0] for _ in range(50)]
    assert len(set(firsts)) > SIZE // 2


def test_training_returns_as_often_as_it_is_told(tmp_path: Path) -> None:
    """Guards the setting, and that what was played online is returned to as well as what was played at random."""
    long = CorpusProblem(PROBLEM.candidates, PROBLEM.scorer, DecisionConfig(shots=5, size=SIZE))
    config = CorpusTrainingConfig(shots=5, candidates=SIZE, episodes=12, steps=20, online_episodes=24, finalists=0)
    changed: dict[float, float] = {}
    came_back = set()
    for share in (0.0, 1.0):
        run = train_corpus_policy(
            long,
            long,
            out=tmp_path / str(share),
            config=replace(config, returning=share),
            provenance=Provenance("toy", labelled_demonstrations=False, fingerprints={}),
        )
        random, online = read_episodes(run / EPISODES_FILE), read_episodes(run / ONLINE_FILE)
        assert len(online) == 24
        distances = []
        for at, episode in enumerate(online):
            known = [*random, *online[: at - at % config.copies]]
            returns = {one.actions: sum(one.rewards) for one in known}
            best = sorted(returns, key=lambda actions, of=returns: -of[actions])[:ELITES]  # type: ignore[misc]
            away = [sum(a != b for a, b in zip(one, episode.actions, strict=True)) for one in best]
            distances.append(min(away))
            came_back |= {one for one, places in zip(best, away, strict=True) if places == 1}
        changed[share] = float(np.mean(distances))
    assert 1 <= changed[1.0] < 1.75  # what stood behind the new choice may have to change as well
    assert changed[0.0] > 2
    assert came_back & {one.actions for one in online}
