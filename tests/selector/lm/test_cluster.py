"""Tests of the Ray backend on a local cluster of two workers."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from policies.mined_storage import read_mined
from policies.mining import MiningConfig, mine
from selector.errors import ClusterError, ModelLoadError, UsageError
from selector.inference.engine import InferenceEngine
from selector.lm import cluster
from selector.lm.base import LanguageModel
from selector.lm.cluster import RayLanguageModel
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model
from selector.strategies.random import RandomSelector
from selector.testing import check_language_model, planted_examples, planted_pool, planted_template

# Two workers that load torch and transformers take a minute on two cores; `make test-slow` runs what needs them.
on_a_cluster = pytest.mark.slow

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")


class Recorder:
    """A progress that keeps what it is told, such as [description, total, steps done]."""

    def __init__(self) -> None:
        self.bars: list[list[Any]] = []

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        self.bars.append([description, total, 0])

        def advance(steps: int) -> None:
            self.bars[-1][2] += steps

        yield advance


SHOWN = Recorder()


@pytest.fixture(scope="module")
def saved(tiny_llama: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_llama[0].save_pretrained(folder)
    tiny_llama[1].save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")  # a worker takes seconds to start
def pair(saved: Path, started: None) -> Iterator[tuple[RayLanguageModel, LanguageModel]]:
    config = LanguageModelConfig(model=str(saved), dtype="float32", device="cpu", engine="ray", ray_workers=2)
    remote = load_language_model(config, progress=SHOWN)
    assert isinstance(remote, RayLanguageModel)
    yield remote, load_language_model(LanguageModelConfig(model=str(saved), dtype="float32", device="cpu"))
    remote.close()


def work(size: int) -> tuple[list[str], list[str]]:
    texts = [example.fields["text"] for example in planted_examples(size)]
    return [f"Review: {text}\nSentiment:" for text in texts for _ in range(2)], [" good", " bad"] * size


@on_a_cluster
def test_a_cluster_gives_what_the_local_engine_gives(pair: tuple[RayLanguageModel, LanguageModel]) -> None:
    """Guards order, fingerprint and accounting: the cluster is the same model, elsewhere."""
    remote, local = pair
    prompts, completions = work(150)
    found, wanted = remote.logprobs(prompts, completions), local.logprobs(prompts, completions)
    assert [score.logprob for score in found] == pytest.approx([score.logprob for score in wanted], abs=1e-4)
    assert [score[1:] for score in found] == [score[1:] for score in wanted]
    assert (remote.fingerprint, remote.context_length) == (local.fingerprint, local.context_length)
    assert (remote.usage.calls, remote.usage.tokens) == (local.usage.calls, local.usage.tokens)
    assert remote.count_tokens(prompts[:3]) == local.count_tokens(prompts[:3])
    options = {"max_new_tokens": 6, "temperature": 1.5, "top_k": 10, "seed": 5}
    assert remote.generate(prompts[:4], **options) == local.generate(prompts[:4], **options)


@on_a_cluster
def test_laws_of_every_language_model(pair: tuple[RayLanguageModel, LanguageModel]) -> None:
    """Guards the laws of `selector.testing` where a model is elsewhere."""
    assert check_language_model(pair[0], tolerance=1e-4, completions=(" dull", " warm", " and", " and dull")) == {}


@on_a_cluster
def test_mining_on_a_cluster_writes_what_mining_here_writes(
    pair: tuple[RayLanguageModel, LanguageModel], tmp_path: Path
) -> None:
    """Guards `mine --engine ray`: the same candidates in the same order, with the scores of the same model."""
    pool, written = planted_pool(12), []
    for name, lm in zip(("remote", "local"), pair, strict=True):
        config = MiningConfig(candidates=4, query_limit=None)
        engine = InferenceEngine(lm, planted_template(), pool)
        mine(engine, pool, recall=RandomSelector(pool), config=config, out=tmp_path / name)
        written.append(read_mined(tmp_path / name))
    remote, local = written
    assert [mined.query for mined in remote] == [mined.query for mined in local]
    assert len(remote) == len(pool)
    for there, here in zip(remote, local, strict=True):
        scores = {candidate.position: candidate.score for candidate in here.candidates}
        assert {one.position: one.score for one in there.candidates} == pytest.approx(scores, abs=1e-4)


@on_a_cluster
def test_the_progress_of_a_long_call_is_shown(pair: tuple[RayLanguageModel, LanguageModel]) -> None:
    """Guards users against minutes of silence; a call of one shard needs no bar."""
    SHOWN.bars.clear()
    pair[0].logprobs(*work(5))
    assert SHOWN.bars == []
    pair[0].logprobs(*work(150))
    assert SHOWN.bars == [["scoring on the cluster", 300, 300]]


@on_a_cluster
def test_an_error_takes_what_waits_along(
    pair: tuple[RayLanguageModel, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the next call against shards of one that failed."""
    remote, local = pair
    monkeypatch.setattr(cluster, "SHARD", 2)
    cancelled: list[Any] = []
    cancel = ray.cancel
    monkeypatch.setattr(ray, "cancel", lambda reference: (cancelled.append(reference), cancel(reference)))
    prompts, completions = work(40)
    with pytest.raises(UsageError, match="empty"):
        remote.logprobs(["", *prompts], ["", *completions])
    assert cancelled
    found, wanted = remote.logprobs(prompts, completions), local.logprobs(prompts, completions)
    assert [score.logprob for score in found] == pytest.approx([score.logprob for score in wanted], abs=1e-4)


@on_a_cluster
@pytest.mark.parametrize("name", ["ObjectLostError", "WorkerCrashedError"])
def test_a_lost_result_is_computed_again(
    pair: tuple[RayLanguageModel, LanguageModel], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards long runs against a node that goes with results on it, while its worker may live on elsewhere."""
    remote, local = pair
    errors = {"ObjectLostError": ("00", None, ""), "WorkerCrashedError": ()}
    pending, get, workers = [getattr(ray.exceptions, name)(*errors[name])], ray.get, list(remote._workers)

    def lose_one(reference: Any) -> Any:
        if pending:
            raise pending.pop()
        return get(reference)

    monkeypatch.setattr(ray, "get", lose_one)
    prompts, completions = work(4)
    found, wanted = remote.logprobs(prompts, completions), local.logprobs(prompts, completions)
    assert [score.logprob for score in found] == pytest.approx([score.logprob for score in wanted], abs=1e-4)
    assert remote._workers == workers
    monkeypatch.setattr(cluster, "DEATHS", 0)
    pending.append(getattr(ray.exceptions, name)(*errors[name]))
    with pytest.raises(ClusterError, match="lost"):
        remote.logprobs(prompts, completions)


@on_a_cluster
def test_a_dead_worker_is_replaced_and_its_work_done_again(
    pair: tuple[RayLanguageModel, LanguageModel], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards long runs against a worker that is killed in the middle."""
    remote, local = pair
    monkeypatch.setattr(cluster, "SHARD", 16)
    prompts, completions = work(400)
    victim = ray.get(remote._workers[0].process.remote())

    def kill() -> None:
        time.sleep(0.2)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = remote.logprobs(prompts, completions)
    killer.join()
    again = remote.logprobs(prompts[:40], completions[:40])
    wanted = [score.logprob for score in local.logprobs(prompts, completions)]
    assert [score.logprob for score in found] == pytest.approx(wanted, abs=1e-4)
    assert [score.logprob for score in again] == pytest.approx(wanted[:40], abs=1e-4)
    assert "died and is replaced" in caplog.text


@on_a_cluster
def test_a_cluster_without_room_is_not_waited_for_forever(
    pair: tuple[RayLanguageModel, LanguageModel], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards users of a shared cluster against a wait without end and without a word."""
    monkeypatch.setattr(cluster, "ROOM", 1.0)
    monkeypatch.setattr(cluster, "LOOK", 0.5)
    with pytest.raises(ClusterError, match="no room"):  # both cores belong to the pair
        load_language_model(LanguageModelConfig(model=str(saved), engine="ray", ray_workers=1, device="cpu"))


@on_a_cluster
def test_workers_that_die_again_and_again_end_the_call(
    pair: tuple[RayLanguageModel, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against an endless loop of restarts."""
    remote, _ = pair
    monkeypatch.setattr(cluster, "DEATHS", 0)
    ray.kill(remote._workers[0])
    with pytest.raises(ClusterError, match="died"):
        remote.logprobs(*work(10))


@on_a_cluster
def test_a_worker_names_its_error(pair: tuple[RayLanguageModel, LanguageModel], tmp_path: Path) -> None:
    """Guards users against a remote traceback for a misspelt model."""
    pair[0].close()  # its cores are needed
    config = LanguageModelConfig(model=str(tmp_path / "nothing"), engine="ray", ray_workers=1)
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        load_language_model(config)


@pytest.mark.parametrize(
    ("nodes", "wanted", "count", "cores"),
    [
        ([6, 6], 0, 2, 6),
        ([7, 5], 0, 2, 5),
        ([8, 6], 0, 3, 4),
        ([16, 2, 2], 0, 4, 4),
        ([3], 0, 1, 3),
        ([2, 2], 0, 2, 2),
        ([2] * 10, 0, 10, 2),
        ([6, 6], 3, 3, 3),
        ([4], 2, 2, 2),
        ([], 0, 1, 1),
    ],
)
def test_workers_fit_on_the_nodes(nodes: list[int], wanted: int, count: int, cores: int) -> None:
    """Guards against three workers of four cores on two nodes of six: no node has room for the third."""
    assert cluster.placement(nodes, wanted) == (count, cores)
    assert sum(node // cores for node in nodes or [1]) >= count


@on_a_cluster
def test_more_workers_than_cores_are_refused(started: None, saved: Path) -> None:
    """Guards against waiting forever for room that will never be there."""
    with pytest.raises(ClusterError, match="99 workers"):
        load_language_model(LanguageModelConfig(model=str(saved), engine="ray", ray_workers=99, device="cpu"))
