"""Tests of training_usage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from policies.corpus_config import CorpusTrainingConfig
from policies.corpus_stage import train_corpus_policy_on
from policies.mining import MiningConfig, mine
from policies.policy_config import PolicyTrainingConfig
from policies.stages import train_policy_on
from policies.training_usage import USAGE_FILE, read_usage, usage_recorded
from selector.inference.engine import InferenceEngine
from selector.lm.base import Usage
from selector.strategies.random import RandomSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template

MARKER = "run.json"


class _Meter:
    """A language model's running count."""

    def __init__(self) -> None:
        self.count = Usage(calls=100, tokens=1000)

    def __call__(self) -> Usage:
        return self.count

    def train(self, folder: Path, tokens: int, *, resume: bool = True, interrupted: bool = False) -> None:
        """Asks for so many tokens, as a training does that makes its folder itself."""
        with usage_recorded(folder, self, marker=MARKER, resume=resume):
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(exist_ok=True)
            (folder / MARKER).write_text("{}")
            self.count += Usage(calls=1, tokens=tokens)
            if interrupted:
                raise KeyboardInterrupt


def tokens_of(folder: Path) -> int | None:
    usage = read_usage(folder)
    return None if usage is None else usage.tokens


def test_a_training_in_several_parts_is_one_price(tmp_path: Path) -> None:
    """Guards against the price of the last part alone, or of what the process asked before it."""
    meter, folder = _Meter(), tmp_path / "run"
    for _ in range(2):
        meter.train(folder, 70)
    assert tokens_of(folder) == 140
    with pytest.raises(KeyboardInterrupt):
        meter.train(folder, 5, interrupted=True)
    assert tokens_of(folder) == 145
    meter.train(folder, 1, resume=False)
    assert tokens_of(folder) == 1


def test_a_price_that_is_not_whole_is_none(tmp_path: Path) -> None:
    """Guards against too low a price behind a killed process, and for folders begun before anybody counted."""
    meter, folder = _Meter(), tmp_path / "run"
    meter.train(folder, 70)
    (folder / USAGE_FILE).unlink()  # what a kill leaves
    meter.train(folder, 70)
    assert tokens_of(folder) is None
    (folder / USAGE_FILE).write_text('{"calls": ')
    assert tokens_of(folder) is None


def test_a_kill_loses_one_step_and_not_the_price(tmp_path: Path) -> None:
    """Guards against trainings that look free, or of unknown price, because the end of the process wrote the count."""
    meter, folder, killed = _Meter(), tmp_path / "run", tmp_path / "killed"
    folder.mkdir()
    (folder / MARKER).write_text("{}")
    for part, wanted in ((1, 30), (2, 60)):
        with (
            usage_recorded(folder, meter, marker=MARKER, resume=part > 1) as progress,
            progress.track("training", 4) as advance,
        ):
            for _ in range(3):
                meter.count += Usage(calls=1, tokens=10)
                advance(1)
            shutil.copytree(folder, killed)  # what a kill would leave
        assert tokens_of(killed) == wanted
        shutil.rmtree(folder)
        killed.rename(folder)


@pytest.mark.parametrize("kind", ["per-query", "corpus"])
def test_both_stages_keep_their_count_while_they_train(tmp_path: Path, kind: str) -> None:
    """Guards the stages: what they ask must be in the folder before the process ends."""
    pool, template, rows = planted_pool(16), planted_template(), planted_examples(12, seed=3, prefix="q")
    engine = InferenceEngine(ToyLanguageModel(), template, pool)
    parts = {"pool": pool, "template": template, "encoder": SimpleNamespace(model="toy")}
    task = SimpleNamespace(reward=tuple(rows[:6]), dev=tuple(rows[6:]), **parts)
    workspace = SimpleNamespace(task=task, engine=engine, encoder=ToyEncoder())
    seen, out = [0], tmp_path / "run"

    class Watching:
        @contextmanager
        def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
            yield lambda steps: seen.append(tokens_of(out) or 0)

    if kind == "corpus":
        corpus = CorpusTrainingConfig(shots=2, candidates=4, episodes=4, steps=8, online_episodes=0)
        train_corpus_policy_on(workspace, out, retriever=None, config=corpus, progress=Watching())  # type: ignore[arg-type]
    else:
        config = PolicyTrainingConfig(
            shots=2, shortlist_size=4, total_steps=32, copies=4, rollout_steps=4, batch_size=16
        )
        train_policy_on(workspace, out, retriever=None, config=config, progress=Watching())  # type: ignore[arg-type]
    assert 0 < seen[-1] <= (tokens_of(out) or 0)
    assert seen == sorted(seen)


def test_no_count_is_written_where_nothing_is_trained(tmp_path: Path) -> None:
    """Guards a folder of somebody else's, which training refuses, against a file of ours."""
    with pytest.raises(ValueError, match="refused"), usage_recorded(tmp_path, _Meter(), marker=MARKER, resume=True):
        raise ValueError("refused")
    assert not list(tmp_path.iterdir())


def test_a_training_that_is_refused_costs_the_last_one_nothing(tmp_path: Path) -> None:
    """Guards the price of a finished run: a mistake behind --no-resume overwrote it with nothing."""
    meter, folder = _Meter(), tmp_path / "run"
    meter.train(folder, 70)
    for resume in (False, True):
        with pytest.raises(ValueError, match="refused"), usage_recorded(folder, meter, marker=MARKER, resume=resume):
            raise ValueError("refused")
        assert tokens_of(folder) == 70


def test_a_run_that_failed_before_it_asked_has_a_price(tmp_path: Path) -> None:
    """Guards a run against an unknown price for ever, for being stopped before its first question."""
    meter, folder = _Meter(), tmp_path / "run"
    with usage_recorded(folder, meter, marker=MARKER, resume=True):
        folder.mkdir()
        (folder / MARKER).write_text("{}")
    meter.train(folder, 50)
    assert tokens_of(folder) == 50


def test_a_kill_of_mining_leaves_its_price(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards an interrupted mining against an unknown price for ever; what stood there before counts no more."""
    out, seen = tmp_path / "mined", list[int | None]()

    class Watching:
        @contextmanager
        def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
            yield lambda steps: seen.append(tokens_of(out))

    config, recall = MiningConfig(candidates=2, query_limit=3), RandomSelector(engine.pool)
    for _ in range(2):
        before = engine.lm.usage
        mine(engine, list(engine.pool), recall=recall, config=config, out=out, resume=False, progress=Watching())
        assert not seen[-2]
        assert seen[-1] == (engine.lm.usage - before).tokens
        assert read_usage(out) == engine.lm.usage - before


def test_mining_counts_what_it_asks_over_all_its_calls(engine: InferenceEngine, tmp_path: Path) -> None:
    """Guards the retriever's training price: mining goes on where it ended, and so does its count."""
    for limit in (3, 7, 7):
        config = MiningConfig(candidates=2, query_limit=limit)
        mine(engine, list(engine.pool), recall=RandomSelector(engine.pool), config=config, out=tmp_path / "mined")
    assert read_usage(tmp_path / "mined") == engine.lm.usage
    (tmp_path / "mined" / USAGE_FILE).unlink()
    more = MiningConfig(candidates=2, query_limit=9)
    mine(engine, list(engine.pool), recall=RandomSelector(engine.pool), config=more, out=tmp_path / "mined")
    assert read_usage(tmp_path / "mined") is None
