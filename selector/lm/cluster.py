"""A language model that shares its work among the workers of a Ray cluster.

Every worker holds a copy of the model. Requests are sorted and cut into shards where a prompt ends, so a worker
computes common prefixes once; a worker has few shards waiting, and one that dies is replaced and its shards are done
again. This module knows nothing of demonstrations or labels.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from selector.errors import ClusterError, ExtraMissingError, ShotsmithError
from selector.lm.base import CompletionScore, Usage
from selector.lm.cluster_worker import Job, ModelWorker
from selector.lm.config import LanguageModelConfig
from selector.progress import SILENT, Progress

logger = logging.getLogger(__name__)

SHARD = 128  # requests: long enough to share prefixes, short enough to lose little with a worker
WAITING = 2  # shards at a worker: it never idles, and nothing piles up there
DEATHS = 5  # of workers or results in one call before it is given up
CORES = 4  # of a CPU worker, where the number of workers is not given
ROOM = 300.0  # seconds until a worker has its cores: long enough for a cluster that grows on demand
LOOK = 5.0  # seconds between looks at the cluster, so that a wait can be interrupted and explained


class RayLanguageModel:
    """Scores and generates on a cluster.

    Args:
        config: The language model that every worker loads; `ray_address` and `ray_workers` say where.
        progress: Shows how many requests are done.

    Raises:
        ExtraMissingError: When ray is not installed.
        ClusterError: When the cluster cannot be reached or has no room.
        ModelLoadError: When a worker cannot load the model.
    """

    def __init__(self, config: LanguageModelConfig, *, progress: Progress = SILENT) -> None:
        self._ray = _connected(config.ray_address)
        self._progress = progress
        self._config = replace(config, engine="local")
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus, cores = sum(int(node.get("GPU", 0)) for node in nodes), [int(node.get("CPU", 0)) for node in nodes]
        cpus = sum(cores) or 1  # a cluster that grows on demand may have none yet
        self._on_gpu = gpus > 0 and config.device != "cpu"
        count, self._cpus = placement(cores, config.ray_workers)
        if self._on_gpu:
            count = config.ray_workers or gpus
        if count > (gpus if self._on_gpu else cpus):
            raise ClusterError(
                f"{count} workers are wanted on {gpus} GPUs and {cpus} CPU cores",
                expected="a GPU or a core for each",
                remedy="Lower [lm] ray_workers.",
            )
        self._usage = Usage()
        self._workers = [self._worker() for _ in range(count)]
        try:
            for worker in self._workers:
                self._await_room(worker)
            facts: tuple[str, int, bool] = self._got(self._first([self._workers[0].facts.remote()]))
        except BaseException:
            self.close()  # else a failed start would hold the cores it has
            raise
        self._fingerprint, self._window, self.exact = facts

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the workers' model: the same as when it is loaded here."""
        return self._fingerprint

    @property
    def context_length(self) -> int:
        """The window, tokens."""
        return self._window

    @property
    def usage(self) -> Usage:
        """Running count over all workers."""
        return self._usage

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts tokens; see `LanguageModel.count_tokens`."""
        return self._run([Job([*range(len(texts))], "count_tokens", (list(texts),))], len(texts)) if texts else []

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        """Scores completions; see `LanguageModel.logprobs`."""
        order = sorted(range(len(prompts)), key=lambda place: (prompts[place], completions[place]))
        jobs = [
            Job(places, "logprobs", ([prompts[at] for at in places], [completions[at] for at in places]))
            for places in _shards(order, prompts)
        ]
        scores: list[CompletionScore] = self._run(jobs, len(prompts))
        return scores

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> list[str]:
        """Continues prompts; see `LanguageModel.generate`."""
        options = {"max_new_tokens": max_new_tokens, "stop": stop, "temperature": temperature, "top_k": top_k}
        # A local model seeds each prompt with its place, so each goes alone with that seed.
        jobs = [
            Job([place], "generate", ([prompt], {**options, "seed": seed + place}))
            for place, prompt in enumerate(prompts)
        ]
        texts: list[str] = self._run(jobs, len(prompts))
        return texts

    def close(self) -> None:
        """Ends the workers."""
        for worker in self._workers:
            self._ray.kill(worker)
        self._workers = []

    def _run(self, jobs: Sequence[Job], size: int) -> list[Any]:
        """Does all jobs and puts their results in order."""
        results: list[Any] = [None] * size
        waiting = deque(jobs)
        running: dict[Any, tuple[int, Any, Job]] = {}  # reference to worker's number, worker, job
        load = [0] * len(self._workers)
        losses = 0
        progress = self._progress if len(jobs) > 1 else SILENT  # one shard is soon done
        with self._cancelled_on_error(running), progress.track("scoring on the cluster", total=size) as advance:
            while waiting or running:
                while waiting and min(load) < WAITING:
                    number, job = load.index(min(load)), waiting.popleft()
                    worker = self._workers[number]
                    running[getattr(worker, job.method).remote(*job.arguments)] = (number, worker, job)
                    load[number] += 1
                done = self._first(list(running))
                number, worker, job = running.pop(done)
                load[number] -= 1
                try:
                    values, usage = self._got(done)
                except self._lost as error:
                    waiting.appendleft(job)
                    died = isinstance(error, self._ray.exceptions.RayActorError)
                    if died and worker is not self._workers[number]:
                        continue  # one of its other jobs has replaced it already
                    losses += 1
                    self._check_losses(losses, error)
                    if died:  # else only the result is lost; a worker that died with it says so when it is next asked
                        self._replace(number, error)
                    continue
                for place, value in zip(job.places, values, strict=True):
                    results[place] = value
                self._usage = self._usage + usage
                advance(len(job.places))
        return results

    @property
    def _lost(self) -> tuple[type[Exception], ...]:
        """What ray raises where the work is to be done again."""
        names = ("RayActorError", "ObjectLostError", "WorkerCrashedError")
        return tuple(getattr(self._ray.exceptions, name) for name in names)

    @contextmanager
    def _cancelled_on_error(self, running: Mapping[Any, Any]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for reference in running:  # else the next call would wait for work that nobody wants
                self._ray.cancel(reference)
            raise

    def _check_losses(self, losses: int, error: Exception) -> None:
        if losses > DEATHS:
            raise ClusterError(
                f"workers died or results were lost {losses} times",
                expected="workers that live",
                remedy="See `ray logs`; too little memory is the usual reason. Scores so far are kept.",
            ) from error

    def _replace(self, number: int, error: Exception) -> None:
        logger.warning("worker %d died and is replaced (%s)", number, type(error).__name__)
        self._ray.kill(self._workers[number])  # one that is only out of reach would keep its cores
        self._workers[number] = self._worker()
        self._await_room(self._workers[number])

    def _worker(self) -> Any:
        resources = {"num_gpus": 1} if self._on_gpu else {"num_cpus": self._cpus}
        return self._ray.remote(ModelWorker).options(**resources).remote(self._config)

    def _await_room(self, worker: Any) -> None:
        """Waits until a worker's process runs, which needs no model."""
        begun, waited = worker.process.remote(), 0.0
        while not self._ray.wait([begun], timeout=LOOK)[0]:
            waited += LOOK
            free = self._ray.available_resources()
            found = f"{free.get('GPU', 0):g} GPUs and {free.get('CPU', 0):g} CPU cores are free"
            if waited >= ROOM:
                raise ClusterError(
                    f"a worker found no room on the cluster in {waited:.0f} s: {found}",
                    expected="a free GPU" if self._on_gpu else f"{self._cpus} free cores on one node",
                    remedy="Wait until other jobs end, or change [lm] ray_workers. Scores so far are kept.",
                )
            logger.info("waiting for room on the cluster: %s", found)

    def _first(self, references: list[Any]) -> Any:
        """The first reference to be done, awaited such that signals are heard."""
        while True:
            done, _ = self._ray.wait(references, num_returns=1, timeout=LOOK)
            if done:
                return done[0]

    def _got(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ShotsmithError):
                raise error.cause from None
            raise


def placement(nodes: Sequence[int], wanted: int) -> tuple[int, int]:
    """Finds how many CPU workers a cluster gets and how many cores each, such that all have room: none spans nodes.

    Args:
        nodes: The cores of each node.
        wanted: How many workers; 0 is one for each four cores of a node, or one for each node where none has as many.

    Returns:
        The number of workers, and of cores each: as many as there is room for, at least one.
    """
    count = wanted or sum(cores // CORES for cores in nodes) or max(1, sum(cores > 0 for cores in nodes))
    fitting = [each for each in range(1, max(nodes, default=0) + 1) if sum(cores // each for cores in nodes) >= count]
    return count, max(fitting, default=1)


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise ExtraMissingError(package="ray", extra="ray") from error
    if ray.is_initialized():
        return ray
    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            ray.init(include_dashboard=False, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"the Ray cluster at {address or 'this machine'} cannot be joined ({error})",
            expected="a running cluster",
            remedy="Start one with `ray start --head`, or leave --ray-address out.",
        ) from error
    return ray


def _shards(order: Sequence[int], prompts: Sequence[str]) -> Iterator[list[int]]:
    """Parts of at least SHARD requests that end where a prompt ends."""
    shard: list[int] = []
    for place in order:
        if len(shard) >= SHARD and prompts[place] != prompts[shard[-1]]:
            yield shard
            shard = []
        shard.append(place)
    if shard:
        yield shard
