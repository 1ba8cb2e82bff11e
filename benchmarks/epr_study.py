"""Does a trained retriever beat nearest neighbours, and does the language model add anything to the labels?

    python -m benchmarks.epr_study                      everything; goes on where it was stopped
    python -m benchmarks.epr_study --tasks trec6 --seeds 0

For every task and seed: mine, train, and let all methods answer the same test queries. One JSON file for each, with the
settings and an answer for each query; `python -m benchmarks.tables` makes the tables of docs/results.md from them. What
was trained or mined with other settings than today's, or is missing from the work folder, is made again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.studied_tasks import studied_task
from policies.mining import MiningConfig
from policies.retriever_config import RetrieverTrainingConfig
from policies.stages import RECALL, mine_candidates, train_retriever_on
from selector.errors import UsageError
from selector.evaluation.references import reference_answers, vote_of
from selector.pipeline import Pipeline
from selector.progress import RichProgress
from selector.strategies.base import Selector
from selector.strategies.dense import NearestSelector
from selector.strategies.lexical import BM25Selector
from selector.strategies.random import RandomSelector
from selector.strategies.retriever import RetrieverSelector, read_retriever_card
from selector.types import Example
from selector.workspace import Workspace

HERE = Path(__file__).parent
TASKS = ("trec6", "sst2", "agnews", "subj", "cr", "emotion", "snli", "banking77")
SHOTS = 8
LONGEST = 64  # tokens of a text that the retriever reads
REFERENCES = ("label-vote", "logreg", "majority")
# Free text has no labels to learn from where nothing was mined: more is mined, and drawn from it for longer.
FREE_TEXT_RECALL = ("nearest", "bm25-output")
FREE_TEXT_MINING: dict[str, Any] = {"candidates": 16, "query_limit": 400}
FREE_TEXT_TRAINING: dict[str, Any] = {"epochs": 8}


class Study:
    """One task with one seed.

    Args:
        name: The task.
        seed: Of splits, mining and training.
        limit: Answer this many test queries at most.
        work: Where mined lists and retrievers are kept.
        out: Where the result goes.
        dtype: Of the language model; float32 gives the same answers on every machine.

    Raises:
        UsageError: When the result was measured with another dtype.
    """

    def __init__(
        self, name: str, seed: int, *, limit: int | None, work: Path, out: Path, dtype: str = "float32"
    ) -> None:
        self.workspace = Workspace(studied_task(name, seed=seed, dtype=dtype))
        self.seed = seed
        self.work = work / f"{name}-{seed}"
        self.path = out / f"{name}-{seed}.json"
        task = self.workspace.task
        self.queries = list(task.test[:limit])
        self.free_text = task.template.free_text
        self.result: dict[str, Any] = {
            "task": name,
            "seed": seed,
            "shots": SHOTS,
            "free_text": self.free_text,
            "pool": len(task.pool),
            "dtype": dtype,
            "cost": {},
            "config": {},
            "metrics": {},
            "answers": {},
        }
        if self.path.is_file():
            self.result |= json.loads(self.path.read_text(encoding="utf-8"))
        if self.result["dtype"] != dtype:
            raise UsageError(
                f"{self.path} was measured in {self.result['dtype']}",
                expected=dtype,
                remedy=f"Pass --dtype {self.result['dtype']}, or another --out.",
            )
        uids = [query.uid for query in self.queries]  # seeds share queries, which intervals must know
        self.result["uids"] = max(self.result.get("uids", []), uids, key=len)
        gold = [query.label for query in self.queries]
        self.result["gold"] = max(self.result.get("gold", []), gold, key=len)

    def run(self) -> None:
        """Does what is not done yet, the cheap things first."""
        task = self.workspace.task
        mining = MiningConfig(seed=self.seed, **(FREE_TEXT_MINING if self.free_text else {}))
        mined = self.work / "mined"
        recall = FREE_TEXT_RECALL if self.free_text else RECALL
        settings = {"recall": [*recall], **asdict(mining)}
        if not self._is_done("mining", mined, settings):
            self._forget("training epr")  # before mining: a kill must not leave a retriever of other lists
            with self._spending("mining"):
                mine_candidates(self.workspace, mined, config=mining, recall=recall, progress=RichProgress())
            self._finish("mining", settings)
        self._train(mined)
        for reference in () if self.free_text else REFERENCES:
            self._answer(reference, lambda queries, name=reference: self._refer(name, queries))  # type: ignore[misc]
        selectors: dict[str, Callable[[], Selector]] = {
            "epr": lambda: self._retriever,
            "nearest": lambda: NearestSelector(task.pool, self.workspace.encoder),
            "bm25": lambda: BM25Selector(task.pool),
            "random": lambda: RandomSelector(task.pool, seed=self.seed),
        }
        for name, build in selectors.items():
            self._answer(name, lambda queries, build=build: self._ask(build(), queries))  # type: ignore[misc]

    def _train(self, mined: Path) -> None:
        folder = self.work / "epr"
        changes = FREE_TEXT_TRAINING if self.free_text else {}
        config = RetrieverTrainingConfig(seed=self.seed, max_seq_length=LONGEST, **changes)
        if not self._is_done("training epr", folder, asdict(config)):
            self._forget_answers("epr", "epr: label vote")
            with self._spending("training epr"):
                train_retriever_on(self.workspace, [mined], folder, config=config, progress=RichProgress())
            self._finish("training epr", asdict(config))
        self.result["metrics"]["epr"] = dict(read_retriever_card(folder).metrics)
        if not self.free_text:
            self._answer("epr: label vote", lambda queries: self._vote(self._retriever, queries))

    @cached_property
    def _retriever(self) -> RetrieverSelector:
        return RetrieverSelector.load(self.work / "epr", self.workspace.task.pool)  # embeds the pool, once

    def _vote(self, selector: Selector, queries: Sequence[Example]) -> list[str]:
        task = self.workspace.task
        return [vote_of(selection, task.pool) for selection in selector.select(queries, SHOTS)]

    def _ask(self, selector: Selector, queries: Sequence[Example]) -> list[str]:
        task = self.workspace.task
        with RichProgress().track(f"{task.name} {self.seed}: {type(selector).__name__}", len(queries)) as advance:
            predictions = Pipeline(selector, self.workspace.engine).predict(queries, SHOTS, advance=advance)
        return [prediction.label for prediction in predictions]

    def _refer(self, name: str, queries: Sequence[Example]) -> list[str]:
        pool, encoder = self.workspace.task.pool, self.workspace.encoder
        return reference_answers(name, pool=pool, encoder=encoder, queries=queries, shots=SHOTS)

    def _answer(self, name: str, answer: Callable[[Sequence[Example]], list[str]]) -> None:
        """Answers the queries that an earlier, shorter run has not answered."""
        given = self.result["answers"].setdefault(name, [])
        rest = self.queries[len(given) :]
        if rest:
            with self._spending(f"answering {name}"):
                given.extend(answer(rest))
            right = [
                self.workspace.engine.is_right(answered, gold)
                for answered, gold in zip(given, self.result["gold"], strict=False)
            ]
            print(f"{self.result['task']} {self.seed} {name}: {sum(right) / len(right):.3f}", flush=True)

    def _is_done(self, stage: str, folder: Path, settings: dict[str, Any]) -> bool:
        """Whether a stage is finished; what was finished with other settings, or is gone, is forgotten and deleted."""
        known = self.result["config"].get(stage)
        if folder.exists() and known == settings:
            return True
        if known is not None:
            self._forget(stage)
            if known != settings:
                shutil.rmtree(folder, ignore_errors=True)
        return False

    def _forget(self, stage: str) -> None:
        """Written at once: what is made again may be killed half-way, and must not count as done then."""
        self.result["config"].pop(stage, None)
        self.result["cost"].pop(stage, None)
        self._write()

    def _forget_answers(self, *names: str) -> None:
        for name in names:
            self.result["answers"].pop(name, None)
            self.result["cost"].pop(f"answering {name}", None)

    def _finish(self, stage: str, settings: dict[str, Any]) -> None:
        self.result["config"][stage] = settings
        self._write()

    @contextmanager
    def _spending(self, stage: str) -> Iterator[None]:
        """Adds what is spent, even when it is interrupted, to what was spent on the stage before."""
        before, start = self.workspace.usage, time.monotonic()
        try:
            yield
        finally:
            used = self.workspace.usage - before
            spent = self.result["cost"].get(stage, {"seconds": 0.0, "tokens": 0, "tokens_computed": 0})
            self.result["cost"][stage] = {
                "seconds": round(spent["seconds"] + time.monotonic() - start, 1),
                "tokens": spent["tokens"] + used.tokens,
                "tokens_computed": spent["tokens_computed"] + used.tokens_computed,
            }
            self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")


def main(
    *,
    tasks: Annotated[str, typer.Option(help="Names of tasks.")] = ",".join(TASKS),
    seeds: Annotated[str, typer.Option(help="Seeds of splits, mining and training.")] = "0,1,2",
    limit: Annotated[int | None, typer.Option(help="Answer this many test queries at most.")] = None,
    work: Annotated[Path, typer.Option(help="Where mined lists and retrievers are kept.")] = HERE / ".work" / "epr",
    out: Annotated[Path, typer.Option(help="Where the results go.")] = HERE / "results" / "epr",
    dtype: Annotated[str, typer.Option(help="Of the language model.")] = "float32",
) -> None:
    """Runs the study, all tasks with the first seed first."""
    for seed in map(int, seeds.split(",")):
        for name in tasks.split(","):
            study = Study(name, seed, limit=limit, work=work, out=out, dtype=dtype)
            study.run()


if __name__ == "__main__":
    typer.run(main)
