"""Tests of how episodes of the per-corpus problem are collected."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.planted_corpus import planted_corpus_problem
from policies.episodes import collect_episodes, read_episodes
from selector.errors import ArtifactError


def test_half_of_the_random_episodes_are_balanced(tmp_path: Path) -> None:
    """Guards the stored data: distinct actions, half of the episodes one label after the other, rewards that add up."""
    problem, _, _ = planted_corpus_problem()
    episodes = collect_episodes(problem, tmp_path / "e.jsonl", count=30, copies=7, seed=0)
    assert read_episodes(tmp_path / "e.jsonl") == episodes
    labels, indices = problem.candidates.shortlist.labels, problem.candidates.shortlist.indices
    kinds = len(set(labels.tolist()))
    for episode in episodes:
        assert len(set(episode.actions)) == 3
        if episode.number % 2:
            assert len(set(labels[list(episode.actions)].tolist())) == min(3, kinds)
        prompt = type(problem.selection(problem.start([0])[0])).of(*(indices[place] for place in episode.actions))
        assert sum(episode.rewards) == pytest.approx(problem.scorer.potentials([0], [prompt])[0])
    assert [episode.number for episode in episodes] == list(range(30))


def test_episodes_are_collected_with_one_call_a_step(tmp_path: Path) -> None:
    """Guards the cost: episodes side by side must not ask one by one."""
    problem, _, _ = planted_corpus_problem()
    before = problem.scorer.calls  # type: ignore[attr-defined]
    collect_episodes(problem, tmp_path / "e.jsonl", count=16, copies=8, seed=0)
    assert problem.scorer.calls - before == 1 + 2 * 3  # type: ignore[attr-defined]  # zero-shot, and two batches of three steps


def test_a_damaged_episode_is_named_and_the_others_stay(tmp_path: Path) -> None:
    """Guards hours of rewards: what followed a damaged line was taken for torn, and overwritten."""
    problem, _, _ = planted_corpus_problem()
    path = tmp_path / "e.jsonl"
    collect_episodes(problem, path, count=4, copies=4, seed=0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert len(read_episodes(path)) == 3
    collect_episodes(problem, path, count=4, copies=4, seed=0)
    assert path.read_bytes() == whole
    damaged = whole.replace(b'"actions"', b'"acts"', 1)
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError, match="line 1 of"):
        collect_episodes(problem, path, count=6, copies=4, seed=0)
    assert path.read_bytes() == damaged
