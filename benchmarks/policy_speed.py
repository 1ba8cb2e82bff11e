"""How long an exported policy takes to choose, and how many steps a second its environments make.

    python -m benchmarks.policy_speed

Choosing: an artifact is written, loaded and asked for 4 of 64 candidates over a pool of 2,000; its weights are drawn at
random, for the work is the same whatever they are. Stepping: one environment after the other against 16 copies in one
batch, over the same episodes with the real language model and no score store. Ratios mean something on a noisy machine,
rates do not.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import typer

from benchmarks import SHARED_DATA
from benchmarks.epr_study import HERE
from benchmarks.machine import described
from envs.demonstrations import DemoSelectionEnv, query_problem
from envs.dynamics import DecisionConfig, DecisionProblem
from envs.vector import VectorDemoSelection
from selector.data.task import Task
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import write_artifact
from selector.learned.manifest import Manifest
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES
from selector.prompting.embedding_text import input_text
from selector.strategies.dense import NearestSelector
from selector.strategies.learned import LearnedSelector
from selector.types import Example
from selector.workspace import Workspace

RESULT = HERE / "results" / "policy_speed.json"
SHOTS, CANDIDATES, COPIES = 4, 64, 16
BATCHES: Final = (1, 8, 64)


def milliseconds(work: Callable[[Example], object], queries: Sequence[Example]) -> dict[str, float]:
    """Times a piece of work for each query.

    Args:
        work: The work.
        queries: N queries.

    Returns:
        p50 and p99, milliseconds.
    """
    taken = []
    for query in queries:
        start = time.perf_counter()
        work(query)
        taken.append(1000 * (time.perf_counter() - start))
    return {"p50_ms": float(np.percentile(taken, 50)), "p99_ms": float(np.percentile(taken, 99))}


def choosing(workspace: Workspace, fresh: Sequence[Example]) -> dict[str, Any]:
    """Measures how long the exported policy takes.

    Args:
        workspace: The task.
        fresh: Queries whose texts no encoder has seen; one of each text.

    Returns:
        Milliseconds with the encoder and without, and queries a second for batches.
    """
    encoder, pool = workspace.encoder, workspace.task.pool
    sizes = PointerNetworkConfig(width=encoder.width, features=len(FEATURES))
    fingerprints = {"pool": pool.fingerprint, "encoder": encoder.fingerprint}
    manifest = Manifest(SHOTS, CANDIDATES, False, False, vars(sizes), workspace.task.encoder.model, fingerprints)
    with tempfile.TemporaryDirectory() as folder:
        artifact = write_artifact(Path(folder) / "artifact", manifest, PointerNetwork(sizes))
        policy = LearnedSelector.load(artifact, pool, encoder=encoder)

    def choose(query: Example) -> object:
        return policy.select([query], SHOTS)

    part = len(fresh) // 4
    choose(fresh[0])  # embeds the pool
    measured: dict[str, Any] = {
        "encoder included": milliseconds(choose, fresh[1:part]),
        "encoder alone": milliseconds(lambda query: encoder.encode([input_text(query)]), fresh[part : 2 * part]),
        "encoder left out": milliseconds(choose, fresh[1:part]),  # it remembers their texts
        "queries_per_second": {},
    }
    unseen = iter(fresh[2 * part :])
    for batch in BATCHES:
        start, asked = time.perf_counter(), 0
        while asked < max(BATCHES):
            policy.select([next(unseen) for _ in range(batch)], SHOTS)
            asked += batch
        measured["queries_per_second"][str(batch)] = asked / (time.perf_counter() - start)
    return measured


def stepping(workspace: Workspace, *, episodes: int, seed: int = 0) -> dict[str, float]:
    """Measures environment steps a second, one after the other and in a batch.

    Args:
        workspace: The task; no score store may stand beneath its engine.
        episodes: How many episodes; a multiple of the copies.
        seed: Seeds queries and actions.

    Returns:
        Steps, seconds and computed tokens of both ways.
    """
    engine = workspace.engine
    nearest = NearestSelector(workspace.task.pool, workspace.encoder)
    rules = DecisionConfig(shots=SHOTS, size=CANDIDATES)
    problem = query_problem(engine, workspace.task.dev[:episodes], nearest, rules)
    rng = np.random.default_rng(seed)
    # (episodes, shots) distinct candidates
    plans = np.stack([rng.permutation(CANDIDATES)[:SHOTS] for _ in range(episodes)])
    measured: dict[str, float] = {"steps": float(plans.size)}
    for name, play in (("one_at_a_time", _one_at_a_time), ("vectorised", _vectorised)):
        _forget(engine)
        before, start = engine.lm.usage, time.perf_counter()
        play(problem, plans)
        measured[f"{name}_seconds"] = time.perf_counter() - start
        measured[f"{name}_tokens_computed"] = float((engine.lm.usage - before).tokens_computed)
    measured["ratio"] = measured["one_at_a_time_seconds"] / measured["vectorised_seconds"]
    return measured


def _one_at_a_time(problem: DecisionProblem, plans: npt.NDArray[np.int64]) -> None:
    environment = DemoSelectionEnv(problem)
    for number, plan in enumerate(plans):
        environment.reset(options={"query": number})
        for action in plan:
            environment.step(action)


def _vectorised(problem: DecisionProblem, plans: npt.NDArray[np.int64]) -> None:
    environments = VectorDemoSelection(problem, COPIES)
    environments.reset(seed=0)
    state = environments.np_random.bit_generator.state
    for start in range(0, len(plans), COPIES):
        environments.restore(problem.start(list(range(start, start + COPIES))), state)
        for actions in plans[start : start + COPIES].T:
            environments.step(actions)


def _forget(engine: InferenceEngine) -> None:
    """Drops the prefixes that were kept from earlier calls."""
    scores: Any = engine.lm._scores  # type: ignore[attr-defined]
    scores.forget()


def main(
    *,
    episodes: Annotated[int, typer.Option(help="Episodes that are stepped through; a multiple of 16.")] = 64,
    runs: Annotated[int, typer.Option(help="How often stepping is measured.")] = 3,
    out: Annotated[Path, typer.Option(help="Where the result goes.")] = RESULT,
) -> None:
    """Measures both and writes them down."""
    task = Task.load("trec6", data_dir=SHARED_DATA)
    workspace = Workspace(task, use_store=False)
    # The pool has every text only once here, and none of them is the query's own.
    fresh = list({query.fields["text"]: query for query in (*task.test, *task.dev)}.values())
    result: dict[str, Any] = {"machine": described(), "choosing": choosing(workspace, fresh)}
    result["stepping"] = [stepping(workspace, episodes=episodes) for _ in range(runs)]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
