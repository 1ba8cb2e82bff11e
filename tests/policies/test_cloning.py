"""Tests of warm starts: what is imitated, how it is stored, and that reinforcement learning goes on from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.dynamics import DecisionConfig, DecisionProblem, Episode
from envs.planted import optimal_returns, planted_problem
from envs.rewards import Values
from policies.cloning import (
    CHUNK,
    ORACLE_FILE,
    CloningConfig,
    Start,
    Trajectory,
    clone,
    oracle_trajectories,
    rule_trajectories,
    smoothed_cross_entropy,
    starts_of,
    worth_of,
)
from policies.planted_study import permutation_p
from policies.policy_config import PolicyTrainingConfig
from policies.ppo import evaluate_on, train_policy
from policies.runs import WARM_STARTS_FILE, Provenance, read_best
from selector.errors import ArtifactError, UnknownNameError, UsageError
from selector.learned.lm_features import PROMPT_FEATURES, PromptView
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES
from selector.learned.rollout import greedy_rollout
from selector.learned.shortlist import Shortlist
from selector.types import Selection

PROVENANCE = Provenance("planted", labelled_demonstrations=False, fingerprints={})


class StubbornScorer:
    """Every demonstration lowers what a prompt is worth."""

    def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> Values:
        return np.array([-float(len(selection.indices)) for selection in selections])


def network(problem: DecisionProblem) -> PointerNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PointerNetwork(PointerNetworkConfig(problem.width, len(FEATURES), hidden=32, similarity_weight=0.0))


def reconfigured(problem: DecisionProblem, **changes: object) -> DecisionProblem:
    settings = {"shots": problem.config.shots, "size": problem.config.size} | changes
    return DecisionProblem(problem.shortlists, problem.scorer, DecisionConfig(**settings))  # type: ignore[arg-type]


def test_the_retriever_is_followed_with_the_most_similar_last() -> None:
    """Guards the order: similarity descends in the shortlist and ascends in the prompt, within the constraints."""
    problem, _ = planted_problem(shots=3)
    for trajectory in rule_trajectories(problem, [0, 5], Start("retriever")):
        assert (trajectory.actions, trajectory.potentials) == ((2, 1, 0), ())
    limited = reconfigured(problem, max_per_label=1)  # the planted pool has two labels
    for trajectory in rule_trajectories(limited, range(6), Start("retriever")):
        labels = problem.shortlists[trajectory.query].labels
        first, second, stop = trajectory.actions
        assert (second, stop) == (0, 6)
        assert first == np.flatnonzero(labels != labels[0])[0]


def voted_problem() -> DecisionProblem:
    """Two queries whose most similar candidate is alone with its label."""
    similarities = np.array([0.9, 0.88, 0.86, 0.84, 0.5], dtype=np.float32)
    shortlist = Shortlist(
        indices=tuple(range(5)),
        query=np.eye(5, 8, dtype=np.float32)[0],
        candidates=np.eye(5, 8, dtype=np.float32),
        similarities=similarities,
        labels=np.array([0, 1, 2, 1, 2]),
        tokens=np.ones(5, dtype=np.int64),
    )
    return DecisionProblem([shortlist] * 2, StubbornScorer(), DecisionConfig(shots=3, size=5))


def test_the_vote_is_followed_with_its_label_last() -> None:
    """Guards the vote by hand: label 1 wins with 0.88 and 0.84; the nearest of the others fills up, farthest away."""
    problem = voted_problem()
    assert [one.actions for one in rule_trajectories(problem, [0, 1], Start("label-vote"))] == [(0, 3, 1)] * 2
    bound = reconfigured(problem, max_per_label=1)
    assert rule_trajectories(bound, [0], Start("label-vote"))[0].actions == (2, 0, 1)


@pytest.mark.parametrize(("worth", "chosen"), [(1, "label-vote"), (0, "retriever")])
def test_the_better_start_is_chosen_on_dev(tmp_path: Path, worth: int, chosen: str) -> None:
    """Guards `best-on-dev`: what stands next to the query pays, and the start that puts it there is taken."""

    class LastLabelScorer:
        def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> Values:
            return np.array([float(one.indices[-1:] == (worth,)) for one in selections])

    planted = voted_problem()
    problem = DecisionProblem(planted.shortlists, LastLabelScorer(), planted.config)
    own = {"total_steps": 1, "shots": 3, "shortlist_size": 5, "warm_start_epochs": 200}
    firsts = {}
    for start in ("best-on-dev", chosen):
        run = tmp_path / start
        train_policy(problem, problem, out=run, config=config(start, **own), provenance=PROVENANCE)
        firsts[start] = (run / "metrics.jsonl").read_text().splitlines()[0].split(', "seconds"')[0]
    assert json.loads(firsts["best-on-dev"] + "}")["dev_potential"] == 1.0
    assert firsts["best-on-dev"] == firsts[chosen]
    judged = json.loads((tmp_path / "best-on-dev" / WARM_STARTS_FILE).read_text())
    assert {one["rule"]: one["potential"] for one in judged} == {"retriever": 1.0 - worth, "label-vote": float(worth)}
    assert not (tmp_path / chosen / WARM_STARTS_FILE).exists()


class OpinionatedReader:
    """A language model that is all for one label."""

    def __init__(self, label: int, sure: float) -> None:
        self.label, self.sure = label, sure

    def read(
        self, queries: Sequence[int], shortlists: Sequence[Shortlist], chosen: Sequence[Sequence[int]]
    ) -> list[PromptView]:
        rest = (1 - self.sure) / 2
        return [
            PromptView(
                np.zeros(len(PROMPT_FEATURES), dtype=np.float32),
                np.where(own.labels == self.label, self.sure, rest).astype(np.float32),
            )
            for own in shortlists
        ]


def test_the_vote_and_an_opinion_speak_together() -> None:
    """Guards the rule by hand: a sure opinion wins over the vote where it weighs enough, a doubtful one does not."""
    voted = voted_problem()
    rules = DecisionConfig(shots=3, size=5, lm_features=True)
    for sure, opinion, actions in ((0.98, 4.0, (0, 4, 2)), (0.98, 0.0, (0, 3, 1)), (0.34, 4.0, (0, 3, 1))):
        problem = DecisionProblem(voted.shortlists, StubbornScorer(), rules, reader=OpinionatedReader(2, sure))
        found = rule_trajectories(problem, [0, 1], Start("label-evidence", opinion))
        assert [one.actions[1:] for one in found] == [actions[1:]] * 2
    assert starts_of("best-on-dev", lm_features=True)[:3] == (
        Start("retriever"),
        Start("label-vote"),
        Start("label-evidence", 0.5),
    )
    assert starts_of("best-on-dev", lm_features=False) == (Start("retriever"), Start("label-vote"))


def test_starts_are_judged_by_all_queries() -> None:
    """Guards a start that few dev queries choose by chance: no query is left out while none has been rewarded."""
    problem, scorer = planted_problem()
    before = scorer.calls
    worth = worth_of(problem, Start("retriever"))
    shown = [Selection.of(*(one.indices[at] for at in (1, 0))) for one in problem.shortlists]
    assert scorer.calls == before + 1
    assert worth == pytest.approx(float(problem.scorer.potentials(range(len(shown)), shown).sum()))


def test_the_oracle_takes_the_best_candidate_at_every_step(tmp_path: Path) -> None:
    """Guards the oracle, what it says its choices are worth, and its cost: one batch a step for all queries."""
    problem, scorer = planted_problem()
    problem.start([0])
    before = scorer.calls
    found = oracle_trajectories(problem, range(24), tmp_path / "o.jsonl")
    assert scorer.calls - before == 2
    for trajectory in found:
        (episode,) = problem.start([trajectory.query])
        assert trajectory.potentials[0] == pytest.approx(episode.potential)
        for at, action in enumerate(trajectory.actions):
            options = np.flatnonzero(problem.mask(episode)[:-1])
            moved = problem.step([episode] * len(options), options.tolist())
            gains = {int(option): outcome.episode.potential for option, outcome in zip(options, moved, strict=True)}
            assert action == max(gains, key=lambda option: gains[option])
            episode = moved[options.tolist().index(action)].episode
            assert trajectory.potentials[at + 1] == pytest.approx(episode.potential)


def test_an_oracle_that_may_stop_stops_where_nothing_helps(tmp_path: Path) -> None:
    """Guards trajectories of policies that may choose fewer demonstrations, and dead ends of constraints."""
    planted, scorer = planted_problem()
    free = DecisionProblem(planted.shortlists, StubbornScorer(), DecisionConfig(shots=2, size=6, may_stop=True))
    assert oracle_trajectories(free, [3], tmp_path / "a.jsonl") == [Trajectory(3, (6,), (0.0, 0.0))]
    bound = DecisionProblem(planted.shortlists, scorer, DecisionConfig(shots=3, size=6, max_per_label=1))
    for trajectory in oracle_trajectories(bound, range(4), tmp_path / "b.jsonl"):
        assert len(trajectory.actions) == 3
        assert trajectory.actions[-1] == 6
        assert trajectory.potentials[-1] == trajectory.potentials[-2]


def test_an_interrupted_oracle_goes_on(tmp_path: Path) -> None:
    """Guards the language model's time: finished queries are kept, a torn line is made again, damage is named."""
    problem, scorer = planted_problem(queries=CHUNK + 8)
    path = tmp_path / ORACLE_FILE
    wanted = oracle_trajectories(problem, range(CHUNK + 8), path)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:CHUNK]) + b'{"query": 33, "acti')
    before = scorer.calls
    assert oracle_trajectories(problem, range(CHUNK + 8), path) == wanted
    assert scorer.calls - before == problem.config.shots
    assert path.read_bytes() == whole
    path.write_bytes(b'{"query": 1}\n' + whole)
    with pytest.raises(ArtifactError, match="line 1"):
        oracle_trajectories(problem, range(3), path)


def test_a_clone_acts_as_it_was_shown(tmp_path: Path) -> None:
    """Guards imitation itself: a network that starts far off chooses as the trajectories do."""
    problem, _ = planted_problem()
    shown = {
        "retriever": rule_trajectories(problem, range(24), Start("retriever")),
        "oracle": oracle_trajectories(problem, range(24), tmp_path / "o.jsonl"),
    }
    for trajectories in shown.values():
        made = network(problem)
        losses = clone(made, problem, trajectories, CloningConfig(epochs=150))
        assert losses[-1] < 0.75 * losses[0]
        found = greedy_rollout(made, problem.shortlists, size=6, horizon=2, may_stop=False)
        wanted = [problem.selection(Episode(one.query, one.actions)) for one in trajectories]
        same = [one.indices == other.indices for one, other in zip(found, wanted, strict=True)]
        assert np.mean(same) >= 0.9


@pytest.mark.parametrize("dense", [True, False])
def test_a_clone_knows_what_its_choices_are_worth(tmp_path: Path, dense: bool) -> None:
    """Guards the value head: its wrong advantages would undo the clone; dense and terminal returns differ."""
    problem = reconfigured(planted_problem()[0], dense=dense)
    trajectories = oracle_trajectories(problem, range(24), tmp_path / "o.jsonl")
    made = network(problem)
    clone(made, problem, trajectories, CloningConfig(epochs=80))
    for at in (0, 1):
        states = problem.observe_all([Episode(one.query, one.actions[:at]) for one in trajectories])
        batch = {name: torch.from_numpy(np.stack([state[name] for state in states])) for name in states[0]}
        with torch.inference_mode():
            values = made(batch)[1].numpy()
        paid = [one.potentials[at if dense else 0] for one in trajectories]
        returns = np.array([one.potentials[-1] for one in trajectories]) - paid
        assert np.mean((values - returns) ** 2) < 0.25 * np.mean(returns**2)


def test_cloning_is_deterministic_and_leaves_other_generators_alone() -> None:
    """Guards resume: a warm start made again after a kill must give the same weights, and PPO the same draws."""
    problem, _ = planted_problem()
    trajectories = rule_trajectories(problem, range(24), Start("retriever"))
    state = torch.get_rng_state()
    made = [network(problem), network(problem)]
    losses = [clone(one, problem, trajectories, CloningConfig(epochs=2)) for one in made]
    assert losses[0] == losses[1]
    assert all(torch.equal(tensor, made[1].state_dict()[name]) for name, tensor in made[0].state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_smoothed_loss_by_hand() -> None:
    """Guards the mask in the loss: an action that is not valid gets no share of the target, and no infinite loss."""
    logits, mask = torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    logprobs = torch.tensor([0.0, 1.0]).log_softmax(dim=0)
    wanted = -(0.8 * logprobs[1] + 0.2 * logprobs.mean())
    loss = smoothed_cross_entropy(logits, torch.tensor([1]), mask, 0.2)
    assert float(loss) == pytest.approx(float(wanted), abs=1e-6)


def config(warm_start: str, *, seed: int = 0, **changes: object) -> PolicyTrainingConfig:
    settings = {
        "shots": 2,
        "shortlist_size": 6,
        "total_steps": 2304,
        "copies": 24,
        "rollout_steps": 16,
        "batch_size": 128,
        "epochs": 6,
        "learning_rate": 3e-3,
        "similarity_weight": 0.0,
        "dense": True,
        "warm_start_epochs": 60,
        "evaluate_every": 1,
    }
    return PolicyTrainingConfig(warm_start=warm_start, seed=seed, **(settings | changes))  # type: ignore[arg-type]


def test_a_warm_start_reaches_the_optimum_in_fewer_steps(tmp_path: Path) -> None:
    """Guards that PPO goes on from the clone: behind as many environment steps it is far ahead of PPO alone.

    The oracle's own scorings are not environment steps; the clone alone stays behind what PPO makes of it.
    """
    reached: dict[str, list[float]] = {"none": [], "oracle": []}
    shares: dict[str, list[float]] = {"none": [], "oracle": []}
    for seed in (1, 2):
        for warm_start in reached:
            problem, _ = planted_problem(seed=seed)
            run = tmp_path / f"{warm_start}-{seed}"
            train_policy(problem, problem, out=run, config=config(warm_start, seed=seed), provenance=PROVENANCE)
            made = greedy_rollout(read_best(run).network, problem.shortlists, size=6, horizon=2, may_stop=False)
            worth = problem.scorer.potentials(range(24), made)
            reached[warm_start] += worth.tolist()
            shares[warm_start].append(worth.mean() / optimal_returns(problem).mean())
            if warm_start == "oracle":
                first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
                assert first["steps"] == 0
                assert first["dev_potential"] < worth.mean() - 0.05
    assert min(shares["oracle"]) >= 0.8, shares
    assert max(shares["none"]) < 0.8, shares
    assert permutation_p(np.array(reached["oracle"]), np.array(reached["none"])) < 0.01


def test_training_from_the_retriever_starts_as_the_retriever(tmp_path: Path) -> None:
    """Guards the warm start of a run: what is evaluated before the first step is the ranking, most similar last."""
    problem, _ = planted_problem()
    own = config("retriever", total_steps=1, warm_start_epochs=200)
    run = train_policy(problem, problem, out=tmp_path / "run", config=own, provenance=PROVENANCE)
    shown = rule_trajectories(problem, range(24), Start("retriever"))
    ranking = [problem.selection(Episode(one.query, one.actions)) for one in shown]
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["dev_potential"]
    assert first == pytest.approx(problem.scorer.potentials(range(24), ranking).mean(), abs=0.05)
    assert not (run / ORACLE_FILE).exists()


def test_a_run_keeps_its_oracle_and_asks_no_more_queries_than_told(tmp_path: Path) -> None:
    """Guards the cost of a warm start: a subset drawn by the seed, and lines that a run cut short takes up again."""
    problem, _ = planted_problem()
    own = config("oracle", total_steps=1, warm_start_queries=5)
    run = train_policy(problem, problem, out=tmp_path / "run", config=own, provenance=PROVENANCE)
    lines = (run / ORACLE_FILE).read_text()
    assert len(lines.splitlines()) == 5
    first = evaluate_on(problem, read_best(run).network)
    for checkpoint in (run / "checkpoints").iterdir():
        (checkpoint / "state.json").unlink()
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    train_policy(problem, problem, out=run, config=own, provenance=PROVENANCE)
    assert (run / ORACLE_FILE).read_text() == lines
    assert evaluate_on(problem, read_best(run).network) == first


def test_impossible_warm_starts_are_refused() -> None:
    """Guards the messages."""
    with pytest.raises(UnknownNameError, match="none, retriever, label-vote, label-evidence, best-on-dev, oracle"):
        config("teacher")
    with pytest.raises(UsageError, match="--lm-features"):
        config("label-evidence")
    with pytest.raises(UnknownNameError, match="prompt, query"):
        config("none", lm_view="answer")
    with pytest.raises(UsageError, match="1 or more"):
        config("oracle", warm_start_queries=0)
