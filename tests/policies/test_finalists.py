"""Tests of the prompt that a training keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from envs.corpus import CorpusProblem
from envs.dynamics import DecisionConfig
from envs.planted_corpus import planted_corpus_problem
from policies.corpus_config import CorpusTrainingConfig
from policies.episodes import StoredEpisode, collect_episodes
from policies.export import export_policy
from policies.finalists import MOST_PATTERNS, PROMPT_FILE, KeptPrompt, choose_prompt, read_prompt, write_prompt
from policies.offline_dqn import train_corpus_policy
from policies.runs import Provenance
from selector.errors import ArtifactError
from selector.learned.corpus_artifact import read_corpus_artifact
from selector.types import Selection


class Backwards:
    """Values prompts by the opposite of what another scorer says, and counts how many."""

    def __init__(self, problem: CorpusProblem) -> None:
        self.problem = problem
        self.asked: list[tuple[int, ...]] = []

    def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> npt.NDArray[np.float64]:
        self.asked += [selection.indices for selection in selections]
        return -3 * self.problem.scorer.potentials(queries, selections)


def judged_backwards(problem: CorpusProblem) -> tuple[CorpusProblem, Backwards]:
    scorer = Backwards(problem)
    return CorpusProblem(problem.candidates, scorer, problem.config), scorer


def test_the_best_over_both_rounds_is_kept(tmp_path: Path) -> None:
    """Guards what is kept: of the prompts rewarded most, and no others, the one that both kinds of queries value."""
    problem, _, _ = planted_corpus_problem()
    dev, scorer = judged_backwards(problem)
    episodes = collect_episodes(problem, tmp_path / "episodes.jsonl", count=30, copies=4, seed=0)
    gains = sorted({episode.actions: sum(episode.rewards) for episode in episodes}.values())
    indices = problem.candidates.shortlist.indices
    best_last = Selection.of(*(indices[at] for at in (0, 1, 2)))
    kept = choose_prompt(problem, dev, random=episodes, online=(), policy=lambda _: best_last, finalists=4)
    assert len(scorer.asked) == 5
    assert scorer.asked[0] == best_last.indices
    values = problem.scorer.potentials([0] * 5, [Selection.of(*prompt) for prompt in scorer.asked])
    assert sorted(values[1:]) == pytest.approx(gains[-4:])  # the empty prompt is worth nothing here
    lowest = int(values.argmin())  # of the five, as dev thinks the opposite, three times as loudly
    assert kept.indices == scorer.asked[lowest]
    assert (kept.reward_value, kept.dev_value) == pytest.approx((values[lowest], -3 * values[lowest]))
    kept = choose_prompt(
        problem, dev, random=episodes, online=(), policy=lambda _: best_last, finalists=4, queries=(4, 1)
    )
    assert kept.indices == scorer.asked[int(values.argmax())]  # four queries reward where one judges


def test_it_says_where_the_prompt_was_found() -> None:
    """Guards an honest account: what the policy has found must not be told from luck by where it is stored."""
    problem, _, _ = planted_corpus_problem()
    indices, last = problem.candidates.shortlist.indices, len(problem.candidates)
    own, other, third = (tuple(indices[at] for at in places) for places in ((0, 1), (2, 3), (4, 5)))
    random = [StoredEpisode(0, (2, 3, last), (0.1, 0.2, 0.0)), StoredEpisode(1, (0, 1, last), (9.0, 9.0, 0.0))]
    online = [StoredEpisode(2, (4, 5, last), (0.1, 0.1, 0.0))]
    worth = dict.fromkeys((own, other, third), 0.0)

    class Said:
        def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> npt.NDArray[np.float64]:
            return np.array([worth.get(selection.indices, 0.0) for selection in selections])

    said = CorpusProblem(problem.candidates, Said(), DecisionConfig(shots=3, may_stop=True))
    for prompt, found in ((own, "policy"), (other, "random"), (third, "online")):
        worth |= dict.fromkeys(worth, 0.0) | {prompt: 1.0}
        kept = choose_prompt(said, said, random=random, online=online, policy=lambda _: Selection.of(*own), finalists=2)
        assert (kept.indices, kept.found) == (prompt, found)


def test_training_keeps_a_prompt_that_export_hands_on(tmp_path: Path) -> None:
    """Guards the way from training to artifact, training that shall keep none, and one that has lost it."""
    problem, _, _ = planted_corpus_problem()
    small = CorpusTrainingConfig(
        shots=3, candidates=10, episodes=12, steps=20, evaluate_every=10, finalists=3, online_episodes=0
    )

    def train(out: Path, config: CorpusTrainingConfig) -> Path:
        provenance = Provenance("toy", labelled_demonstrations=False, fingerprints={})
        return train_corpus_policy(problem, problem, out=out, config=config, provenance=provenance)

    run = train(tmp_path / "run", small)
    candidates = problem.candidates.shortlist.indices
    kept = read_prompt(run, candidates=candidates)
    assert kept is not None
    assert read_corpus_artifact(export_policy(run, tmp_path / "artifact")).manifest.prompt == kept.indices
    (run / PROMPT_FILE).unlink()
    train(run, small)
    assert read_prompt(run, candidates=candidates) == kept
    values = {"reward_value": 1.0, "dev_value": 1.0, "found": "random"}
    taken = list(kept.indices[:1])
    wrong: tuple[object, ...] = (3, "12", [1.0], [1e999], [10**6], taken * 2, [True])
    for damage in (
        "{",
        "[]",
        json.dumps({"indices": taken}),
        *(json.dumps({"indices": one} | values) for one in wrong),
        *(json.dumps({"indices": taken, "labels": one} | values) for one in ([1], ["a", "b"], 3, "a", ["a"])),
    ):
        (run / PROMPT_FILE).write_text(damage)
        with pytest.raises(ArtifactError, match="judged again"):
            export_policy(run, tmp_path / "artifact")
    alone = train(tmp_path / "alone", replace(small, finalists=0))
    assert read_prompt(alone, candidates=candidates) is None
    assert read_corpus_artifact(export_policy(alone, tmp_path / "artifact")).manifest.prompt is None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Guards the file: positions in order, values to the last digit."""
    prompt = KeptPrompt((7, 2, 5), 0.1 + 0.2, 2 / 3, "online", ("good", "bad", "good"))
    write_prompt(tmp_path, prompt)
    assert read_prompt(tmp_path, candidates=range(9), label_names=("good", "bad")) == prompt
    with pytest.raises(ArtifactError, match="no known label"):
        read_prompt(tmp_path, candidates=range(9), label_names=("good",))


def test_the_labels_of_the_prompt_are_kept_where_they_have_names(tmp_path: Path) -> None:
    """Guards what other pools are shown: the labels in prompt order, and none where they are only same or different."""
    problem, _, _ = planted_corpus_problem()
    labels, names = problem.candidates.shortlist.labels, ("red", "green", "blue")
    named = replace(problem.candidates, label_names=names, named=np.eye(3, dtype=np.float32)[labels])
    places = (4, 0, 7)
    own = Selection.of(*(named.shortlist.indices[place] for place in places))
    for candidates, wanted in ((named, tuple(names[labels[place]] for place in places)), (problem.candidates, ())):
        told = CorpusProblem(candidates, problem.scorer, problem.config)
        kept = choose_prompt(told, told, random=(), online=(), policy=lambda _: own, finalists=1)
        write_prompt(tmp_path, kept)
        read = read_prompt(tmp_path, candidates=named.shortlist.indices, label_names=names)
        assert read is not None
        assert (read.indices, read.labels) == (own.indices, wanted)
    assert replace(named, named=np.zeros_like(named.label_columns)).label_pattern(own.indices) == ()
    assert named.label_pattern(()) == ()


def test_the_policy_chooses_within_the_labels_of_the_best_prompts() -> None:
    """Guards what is judged beside stored prompts: free, then in the patterns of the best, each once, six at most."""
    problem, _, _ = planted_corpus_problem()
    labels, names = problem.candidates.shortlist.labels, ("red", "green", "blue")
    named = replace(problem.candidates, label_names=names, named=np.eye(3, dtype=np.float32)[labels])
    told = CorpusProblem(named, problem.scorer, problem.config)
    rng = np.random.default_rng(0)
    drawn = [tuple(int(at) for at in rng.choice(len(labels), 3, replace=False)) for _ in range(40)]
    episodes = [StoredEpisode(at, actions, (0.0, 0.0, -at / 100)) for at, actions in enumerate(drawn)]
    wanted = [*dict.fromkeys(tuple(names[labels[at]] for at in actions) for actions in drawn)]
    asked: list[tuple[str, ...]] = []
    best = (1, 5, 2)

    def policy(pattern: Sequence[str]) -> Selection:
        asked.append(tuple(pattern))
        places = best if tuple(pattern) == wanted[2] else (0, 1, 2)
        return Selection.of(*(named.shortlist.indices[place] for place in places))

    class FondOfOne:
        def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> npt.NDArray[np.float64]:
            fond = tuple(named.shortlist.indices[place] for place in best)
            return np.array([float(selection.indices == fond) for selection in selections])

    dev = CorpusProblem(named, FondOfOne(), problem.config)
    kept = choose_prompt(told, dev, random=episodes, online=(), policy=policy, finalists=30, queries=(0, 1))
    assert asked == [(), *wanted[:MOST_PATTERNS]]
    assert (kept.found, kept.indices) == ("policy", tuple(named.shortlist.indices[place] for place in best))
    asked.clear()
    choose_prompt(told, dev, random=episodes, online=(), policy=policy, finalists=1)
    assert asked == [(), wanted[0]]


def test_an_empty_prompt_can_be_the_best(tmp_path: Path) -> None:
    """Guards a prompt without demonstrations that training found best: it was taken for none."""
    planted, _, _ = planted_corpus_problem(may_stop=True)

    class Costly:
        def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> npt.NDArray[np.float64]:
            return np.array([-float(len(selection.indices)) for selection in selections])

    problem = CorpusProblem(planted.candidates, Costly(), planted.config)
    empty = StoredEpisode(0, (len(problem.candidates),), (0.0,))
    own = Selection.of(*problem.candidates.shortlist.indices[:2])
    kept = choose_prompt(problem, problem, random=[empty], online=(), policy=lambda _: own, finalists=1)
    assert kept.indices == ()
    write_prompt(tmp_path, kept)
    assert read_prompt(tmp_path, candidates=problem.candidates.shortlist.indices) == kept


def test_a_run_from_before_names_and_views_is_exported(tmp_path: Path) -> None:
    """Guards hours of training that a newer version could not export."""
    problem, _, _ = planted_corpus_problem()
    config = CorpusTrainingConfig(
        shots=3, candidates=10, episodes=12, steps=20, evaluate_every=10, finalists=0, online_episodes=0
    )
    provenance = Provenance("toy", labelled_demonstrations=False, fingerprints={})
    run = train_corpus_policy(problem, problem, out=tmp_path / "run", config=config, provenance=provenance)
    content = json.loads((run / "run.json").read_text())
    del content["label_names"]
    (run / "run.json").write_text(json.dumps(content))
    assert read_corpus_artifact(export_policy(run, tmp_path / "artifact")).manifest.label_names == ()


def test_a_prompt_is_worth_the_same_however_it_was_valued() -> None:
    """Guards ties: a potential and the gain up to it differ in the last bits, so that luck was told from the policy."""
    problem, _, _ = planted_corpus_problem()

    class Worth(Backwards):
        def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> npt.NDArray[np.float64]:
            return np.array([0.04 if selection.indices else 0.62 for selection in selections])

    equal = CorpusProblem(problem.candidates, Worth(problem), problem.config)
    indices = problem.candidates.shortlist.indices
    stored = StoredEpisode(0, (2, 3, 4), (0.0, 0.0, 0.04 - 0.62))
    own = Selection.of(indices[0], indices[1], indices[5])
    kept = choose_prompt(equal, equal, random=[stored], online=(), policy=lambda _: own, finalists=3)
    assert (kept.found, kept.reward_value) == ("policy", 0.04)
