"""Tests of offline Q-learning: does it learn, does it resume, what does it store, export and serve."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from envs.corpus import CorpusProblem, corpus_problem
from envs.dynamics import DecisionConfig
from envs.planted_corpus import optimal_value, planted_corpus_problem, random_values
from policies.checkpoint_folder import latest_checkpoint
from policies.corpus_config import CorpusTrainingConfig
from policies.episodes import collect_episodes, random_chooser, read_episodes, roll_episodes
from policies.export import check_parity, export_policy
from policies.finalists import PROMPT_FILE
from policies.offline_dqn import EPISODES_FILE, ONLINE_FILE, UNCERTAINTY_FILE, train_corpus_policy
from policies.q_learner import ConservativeQLearner
from policies.replay import Batch, Replay
from policies.runs import Provenance, read_corpus_best
from selector.data.pool import Pool
from selector.errors import ArtifactError, UsageError
from selector.inference.engine import InferenceEngine
from selector.learned.corpus_artifact import read_corpus_artifact
from selector.learned.corpus_network import CorpusNetworkConfig, CorpusQNetwork
from selector.strategies.corpus import CorpusSelector, greedy_set
from selector.strategies.dense import NearestSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template


class KilledError(Exception):
    """What a kill looks like from inside."""


class KillsAt:
    """Progress that kills after so many steps of a piece of work."""

    def __init__(self, work: str, steps: int) -> None:
        self.work = work
        self.left = steps

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        def advance(steps: int) -> None:
            if self.work in description:
                self.left -= steps
                if self.left < 0:
                    raise KilledError

        yield advance


def small(**changes: object) -> CorpusTrainingConfig:
    settings = {
        "shots": 3,
        "candidates": 10,
        "episodes": 24,
        "online_episodes": 0,
        "steps": 60,
        "target_every": 20,
        "evaluate_every": 20,
        "copies": 4,
    }
    return CorpusTrainingConfig(**(settings | changes))  # type: ignore[arg-type]


PROVENANCE = Provenance("toy", labelled_demonstrations=False, fingerprints={})


def train(out: Path, config: CorpusTrainingConfig, **options: object) -> Path:
    problem, _, _ = planted_corpus_problem(may_stop=config.may_stop)
    return train_corpus_policy(problem, problem, out=out, config=config, provenance=PROVENANCE, **options)  # type: ignore[arg-type]


def lm_problem(queries: list[object] | None = None, *, lm_features: bool = False) -> tuple[CorpusProblem, Pool]:
    """A problem rewarded by the toy language model."""
    pool = planted_pool(16)
    engine = InferenceEngine(ToyLanguageModel(), planted_template(), pool)
    problem = corpus_problem(
        engine,
        NearestSelector(pool, ToyEncoder()),
        queries or planted_examples(4, seed=5, prefix="reward"),  # type: ignore[arg-type]
        config=DecisionConfig(shots=2, size=6),
        reward="probability",
        lm_features=lm_features,
    )
    return problem, pool


def weights(run: Path) -> dict[str, torch.Tensor]:
    place = latest_checkpoint(run / "checkpoints")
    assert place is not None
    return {
        f"{file.name}:{name}": tensor
        for file in place.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def share_of_optimum(network: CorpusQNetwork, problem: CorpusProblem) -> float:
    """0 for random prompts, 1 for the brute-forced best."""
    chosen = greedy_set(network, problem.candidates, horizon=3, may_stop=False)
    chance = random_values(problem, episodes=300, seed=1).mean()
    return float((problem.scorer.potentials([0], [chosen])[0] - chance) / (optimal_value(problem) - chance))


def test_it_learns_the_planted_relation_and_takes_it_to_new_pools(tmp_path: Path) -> None:
    """Guards that anything is learned: near the brute-forced optimum of its pool, far from chance on unseen ones."""
    problem, _, _ = planted_corpus_problem()
    config = small(episodes=200, steps=1200, learning_rate=3e-3, target_every=200, evaluate_every=200)
    run = train_corpus_policy(problem, problem, out=tmp_path / "run", config=config, provenance=PROVENANCE)
    network = read_corpus_best(run).network
    assert share_of_optimum(network, problem) >= 0.85
    unseen = [planted_corpus_problem(seed=seed, candidates=12)[0] for seed in range(100, 106)]
    assert np.mean([share_of_optimum(network, one) for one in unseen]) >= 0.5


@pytest.mark.parametrize(
    ("work", "steps"),
    [("collect", 9), ("Q-network", 30), ("Q-network", 130), ("Q-network", 400), ("judge the best", 5)],
)
def test_resumed_training_ends_with_the_same_weights(tmp_path: Path, work: str, steps: int) -> None:
    """Guards resume after a kill while collecting, learning offline or online, and judging: everything comes back."""
    config = small(online_episodes=24, may_stop=True)
    whole, cut = train(tmp_path / "whole", config), tmp_path / "cut"
    with pytest.raises(KilledError):
        train(cut, config, progress=KillsAt(work, steps))
    if work == "Q-network":
        assert not same(weights(cut), weights(whole))
    with (cut / EPISODES_FILE).open("a") as file:
        file.write("" if work == "judge the best" else '{"number": 24, "act')  # before, a kill may tear a line
    train(cut, config)
    assert same(weights(cut), weights(whole))
    for name in (EPISODES_FILE, ONLINE_FILE, PROMPT_FILE):
        assert (cut / name).read_text() == (whole / name).read_text()
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (cut, whole)]
    for line in (*lines[0], *lines[1]):
        del line["seconds"]
    assert lines[0] == lines[1]
    assert lines[0][-1]["steps"] == config.total_steps == 60 + 24 * 16


@pytest.mark.parametrize("torn", ["", '{"number": 4, "act'])
def test_a_kill_in_online_play_before_any_checkpoint_costs_nothing_else(tmp_path: Path, torn: str) -> None:
    """Guards online.jsonl: episodes that a killed process left in it were read back for others that were played."""
    config = small(steps=20, online_episodes=6, evaluate_every=50)
    whole, cut = train(tmp_path / "whole", config), tmp_path / "cut"
    with pytest.raises(KilledError):
        train(cut, config, progress=KillsAt("Q-network", 30))
    assert latest_checkpoint(cut / "checkpoints") is None
    assert read_episodes(cut / ONLINE_FILE)
    with (cut / ONLINE_FILE).open("a") as file:
        file.write(torn)
    (cut / "metrics.jsonl").write_text('{"steps": 50}\n')  # measured, and killed before the checkpoint
    with pytest.raises(KilledError):
        train(cut, config, progress=KillsAt("Q-network", 105))  # behind a checkpoint with all six
    train(cut, config)
    assert same(weights(cut), weights(whole))
    assert (cut / ONLINE_FILE).read_text() == (whole / ONLINE_FILE).read_text()
    steps = [json.loads(line)["steps"] for line in (cut / "metrics.jsonl").read_text().splitlines()]
    assert steps == [50, 100, config.total_steps]


def test_the_same_seed_trains_the_same_policy_and_leaves_torch_alone(tmp_path: Path) -> None:
    """Guards determinism, that the seed matters, and the caller's random numbers."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = train(tmp_path / "a", small())
    assert torch.equal(torch.rand(3), expected)
    assert same(weights(first), weights(train(tmp_path / "b", small())))
    assert not same(weights(first), weights(train(tmp_path / "c", small(seed=1))))


def test_a_finished_run_is_not_trained_again_and_another_needs_another_folder(tmp_path: Path) -> None:
    """Guards a second run of the same command, and a run whose first half was trained otherwise."""
    run = train(tmp_path / "run", small())
    before = weights(run)
    train(run, small(), progress=KillsAt("", 0))
    assert same(weights(run), before)
    with pytest.raises(UsageError, match="conservative"):
        train(run, small(conservative=2.0))
    for name in ("steps", "shots", "candidates", "hidden"):
        with pytest.raises(UsageError, match=f"{name} is 0"):
            small(**{name: 0})
    rates = (("learning_rate", -1.0), ("gradient_norm", 0.0), ("weight_decay", -1.0), ("conservative", float("nan")))
    shares = (
        ("online_episodes", -1),
        ("seed", -1),
        ("token_cost", -1.0),
        ("dropout", 1.0),
        ("returning", 1.5),
        ("returning", -0.1),
    )
    for name, value in (*shares, *rates):
        with pytest.raises(UsageError, match=f"{name} is {value}"):
            small(**{name: value})


def test_patience_ends_training_and_counts_on_after_a_kill(tmp_path: Path) -> None:
    """Guards a run that trains on for nothing, one that waits anew once resumed, and one trained on once it ended."""
    config = small(steps=400, patience=3, learning_rate=1e-9)
    whole, cut = train(tmp_path / "whole", config), tmp_path / "cut"
    with pytest.raises(KilledError):
        train(cut, config, progress=KillsAt("Q-network", 50))
    train(cut, config)
    for run in (whole, cut):
        steps = [json.loads(line)["steps"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert steps == [20, 40, 60, 80]
        assert read_episodes(run / ONLINE_FILE) == []
    assert same(weights(cut), weights(whole))
    train(whole, config, progress=KillsAt("", 0))
    played = train(tmp_path / "played", small(steps=200, patience=3, learning_rate=1e-9, online_episodes=8))
    steps = [json.loads(line)["steps"] for line in (played / "metrics.jsonl").read_text().splitlines()]
    assert steps == [*range(20, 261, 20)]  # patience begins behind step 200, with the first online episode
    assert len(read_episodes(played / ONLINE_FILE)) == 4
    with pytest.raises(UsageError, match="patience is 0"):
        small(patience=0)


def test_curves_are_written_for_tensorboard(tmp_path: Path) -> None:
    """Guards curves: what metrics.jsonl says of an evaluation stands there at the same step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(tmp_path / "run", small())
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for tag, name in (("dev/value", "dev_value"), ("difference", "difference")):
        told = [(scalar.step, scalar.value) for scalar in events.Scalars(tag)]
        assert told == [(line["steps"], pytest.approx(line[name], rel=1e-5)) for line in lines]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    """Guards against a traceback, and against silently starting over."""
    run = train(tmp_path / "run", small())
    place = latest_checkpoint(run / "checkpoints")
    assert place is not None
    place = place.rename(place.with_name("step-000000020"))  # as if the run had been cut
    (place / "target.safetensors").write_bytes(b"\x00" * 10)
    with pytest.raises(ArtifactError, match="--no-resume"):
        train(run, small())


def test_transitions_by_hand() -> None:
    """Guards what is learned from: states, actions, ends, and stopping shown where it is a choice."""
    problem, _, _ = planted_corpus_problem(may_stop=True)
    episodes = roll_episodes(problem, [random_chooser(problem, number, seed=4) for number in range(40)])
    replay = Replay(problem, seed=0)
    replay.add(episodes)
    extra = len(replay) - sum(len(episode.actions) for episode in episodes)
    assert 0 < extra < 0.2 * len(replay)
    batch = replay.batch(np.random.default_rng(0), 400)
    rows = torch.arange(400)
    assert (batch.before["mask"][rows, batch.actions] == 1).all()
    going_on = batch.done == 0
    assert (batch.after["mask"][rows, batch.actions] == 0)[going_on].all()
    assert (batch.rewards[batch.actions == 10] == 0).all()
    assert (batch.done[batch.actions == 10] == 1).all()
    assert torch.allclose(batch.after["state"][going_on, 0] - batch.before["state"][going_on, 0], torch.tensor(1 / 3))


def test_rewards_are_told_in_one_unit_whatever_their_size(tmp_path: Path) -> None:
    """Guards the conservative term: it weighed as much as all rewards where prompts differ by a few points."""
    problem = planted_corpus_problem()[0]
    episodes = collect_episodes(problem, tmp_path / "e.jsonl", count=16, copies=8, seed=0)
    small = [replace(one, rewards=tuple(0.01 * reward for reward in one.rewards)) for one in episodes]
    plain, shrunk, flat = (Replay(problem, seed=0) for _ in range(3))
    for replay, given in ((plain, episodes), (shrunk, small)):
        replay.add(given)
    batches = [replay.batch(np.random.default_rng(0), 40) for replay in (plain, shrunk)]
    assert torch.allclose(batches[0].rewards, batches[1].rewards, atol=1e-5)
    shrunk.add(episodes)
    assert shrunk.unit == pytest.approx(0.01 * plain.unit)  # not what is played later
    flat.add(episodes[:1])  # one episode, or many that are worth the same, have no spread
    assert flat.unit == 1.0


def test_a_stop_that_is_shown_is_paid_as_a_real_one() -> None:
    """Guards rewards at the end alone: stopping was shown as worth nothing, whatever had been chosen."""
    planted, _, _ = planted_corpus_problem(may_stop=True)
    problem = CorpusProblem(planted.candidates, planted.scorer, replace(planted.config, dense=False))
    episodes = roll_episodes(problem, [random_chooser(problem, number, seed=4) for number in range(60)])
    replay = Replay(problem, seed=0)
    replay.add(episodes)
    stops = [(place, reward) for place, action, reward, _, _ in replay._transitions if action == 10]
    chosen = {place: prefix for prefix, place in replay._places.items()}
    (start,) = problem.start([0])
    for place, reward in stops:
        (outcome,) = problem.step([replace(start, chosen=chosen[place])], [10])
        assert reward == pytest.approx(outcome.reward)
    assert len({round(reward, 6) for _, reward in stops}) > 2


def test_the_loss_by_hand() -> None:
    """Guards the published loss: absolute difference to the target's best valid value, and the conservative term."""
    network = CorpusQNetwork(CorpusNetworkConfig(width=2, state=1, features=1, hidden=4, dropout=0.0)).eval()
    network.norm.show(torch.randn(20, 2, generator=torch.Generator().manual_seed(0)))
    learner = ConservativeQLearner(
        network, learning_rate=1e-3, weight_decay=0.0, conservative=0.2, gradient_norm=1.0, target_every=1
    )
    network.norm.count.fill_(1e12)  # so that the step itself moves no statistics
    network.norm.squares.mul_(1e12 / 20)
    learner.target.load_state_dict(network.state_dict())
    before = {"state": torch.tensor([[0.1], [0.2]]), "features": torch.randn(2, 3), "mask": torch.ones(2, 4)}
    before["mask"][1, 3] = 0
    after = {
        "state": torch.tensor([[0.4], [0.5]]),
        "features": torch.randn(2, 3),
        "mask": torch.tensor([[0, 1, 1, 0.0]] * 2),
    }
    batch = Batch(before, torch.tensor([0, 2]), torch.tensor([0.3, -0.1]), after, torch.tensor([0.0, 1.0]))
    with torch.inference_mode():
        values, best = network(before)[0], network(after)[0][:, 1:3].max(dim=1).values
    wanted = torch.tensor([0.3 + float(best[0]), -0.1])
    taken = values[torch.arange(2), batch.actions]
    conservative = torch.stack([values[0].logsumexp(0), values[1, :3].logsumexp(0)]) - taken
    losses = learner.step(batch)
    assert losses.difference == pytest.approx(float((taken - wanted).abs().mean()), abs=1e-4)
    assert losses.conservative == pytest.approx(float(conservative.mean()), abs=1e-4)
    assert same(dict(learner.target.state_dict()), dict(network.state_dict()))
    assert not network.training


def test_what_the_language_model_said_is_kept(tmp_path: Path) -> None:
    """Guards the costly features: a run that is continued does not ask for them again, and damage is named."""
    problem, _ = lm_problem(lm_features=True)
    config = small(shots=2, candidates=6, episodes=8, online_episodes=6, returning=0.0, lm_features=True)
    run = train_corpus_policy(problem, problem, out=tmp_path / "run", config=config, provenance=PROVENANCE)
    again, _ = lm_problem(lm_features=True)
    place = latest_checkpoint(run / "checkpoints")
    assert place is not None
    indices, held = problem.candidates.shortlist.indices, load_file(run / UNCERTAINTY_FILE)
    played = [own.actions[:1] for own in read_episodes(run / ONLINE_FILE)]
    assert {str(indices[place]) for (place,) in played} <= set(held)
    place.rename(place.with_name("step-000000040"))
    assert again.uncertainty is not None
    assert problem.uncertainty is not None
    asked: list[object] = []
    ask = again.uncertainty._engine.probabilities
    again.uncertainty._engine.probabilities = lambda *given: (asked.append(given), ask(*given))[1]  # type: ignore[method-assign,assignment]
    train_corpus_policy(again, again, out=run, config=config, provenance=PROVENANCE)
    assert not asked or len(asked) <= 2  # only for what the greedy choice on dev shows anew
    (run / UNCERTAINTY_FILE).write_bytes(b"\x00")
    place = latest_checkpoint(run / "checkpoints")
    assert place is not None
    place.rename(place.with_name("step-000000020"))
    with pytest.raises(ArtifactError, match="asked again"):
        train_corpus_policy(again, again, out=run, config=config, provenance=PROVENANCE)


def test_the_artifact_decides_as_the_training_process_did(tmp_path: Path) -> None:
    """Guards export and serving: the same weights, values and, from the pool of training, the same prompt."""
    problem, pool = lm_problem()
    provenance = Provenance("toy", labelled_demonstrations=False, fingerprints={"pool": pool.fingerprint})
    config = small(shots=2, candidates=6, episodes=12, finalists=0)
    run = train_corpus_policy(problem, problem, out=tmp_path / "run", config=config, provenance=provenance)
    artifact = read_corpus_artifact(export_policy(run, tmp_path / "artifact"))
    best = read_corpus_best(run)
    check_parity(artifact, best)
    manifest = artifact.manifest
    assert manifest.candidates == problem.candidates.shortlist.indices
    assert (manifest.kind, manifest.shots, manifest.shortlist_size, manifest.encoder) == ("corpus", 2, 6, "toy")
    assert manifest.metrics == best.metrics
    here = greedy_set(best.network, problem.candidates, horizon=2, may_stop=False)
    selector = CorpusSelector.load(tmp_path / "artifact", pool, force=True, encoder=ToyEncoder())
    (served,) = selector.select(planted_examples(1, prefix="q"), 2)
    assert served.indices == here.indices
    assert served.scores == pytest.approx(here.scores, abs=1e-6)
    with torch.no_grad():
        artifact.network.stop += 1.0
    with pytest.raises(ArtifactError, match="nats away"):
        check_parity(artifact, best)
    with torch.no_grad():
        artifact.network.stop += float("nan")
    with pytest.raises(ArtifactError, match="nats away"):  # no number is not near any
        check_parity(artifact, best)


def test_the_best_weights_are_those_of_the_best_evaluation(tmp_path: Path) -> None:
    """Guards the choice on dev: no evaluation may beat what is kept, and of equals the last is."""
    run = train(tmp_path / "run", small(steps=200))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: (line["dev_value"], line["steps"]))
    assert read_corpus_best(run).metrics == {"dev_value": best["dev_value"], "steps": best["steps"]}
    assert len(lines) == 10
    assert len(list((run / "checkpoints").iterdir())) == 1
