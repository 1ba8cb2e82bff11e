"""Does a learned prompt for a whole task beat random demonstrations, the best of random sets, and hold on a new pool?

    python -m benchmarks.corpus_study                      everything; goes on where it was stopped
    python -m benchmarks.corpus_study --tasks trec6 --seeds 0 --limit 60

Half of the pool is trained on. Half of the dev queries value prompts, the other half choose the best weights; best-of-k
reads both halves and may ask the language model for as many tokens as the policy's training did. The other half of the
pool is the new pool: the policy chooses from it without having seen it, of the kept prompt's labels in their order, or
with labels free, or among a hundred members, as many as it was trained with. Random demonstrations are drawn for each
query, which is the mean over many random prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.epr_study import HERE
from benchmarks.policy_study import VariantStudy
from policies.corpus_config import CorpusTrainingConfig
from policies.corpus_stage import train_corpus_policy_on
from selector.data.pool import Pool
from selector.inference.changed import changed_engine
from selector.inference.engine import InferenceEngine
from selector.learned.candidate_set import draw_candidates
from selector.pipeline import Pipeline
from selector.progress import RichProgress
from selector.strategies.base import Selector
from selector.strategies.corpus import CorpusSelector
from selector.strategies.random import RandomSelector
from selector.strategies.searched import BestOfKSelector
from selector.types import Example

TASKS: Final = ("agnews", "sst2", "trec6", "amazon_sentence")
SHOTS: Final = 4
HUNDRED: Final = 100
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "rl": {},
    "rl, reward probability": {"reward": "probability"},
    "rl, dense": {"dense": True},
    "rl, not conservative": {"conservative": 0.0},
    "rl, language-model features": {"lm_features": True},
    "rl, values alone": {"returning": 0.0},
    "rl, offline": {"episodes": 140, "online_episodes": 0},
    "rl, network alone": {"finalists": 0},
    "rl, labels without names": {"label_names": False},
}


def training(variant: str, seed: int) -> CorpusTrainingConfig:
    """Gives the settings of a variant.

    Args:
        variant: One of `VARIANTS`.
        seed: The seed.

    Returns:
        The settings.
    """
    settings: dict[str, Any] = {
        "shots": SHOTS,
        "dense": False,
        "episodes": 60,
        "online_episodes": 80,
        "reward_queries": 50,
        "evaluate_every": 400,  # dev chooses among some fourteen prompts
        "seed": seed,
    }
    return CorpusTrainingConfig(**settings | VARIANTS[variant])


class CorpusStudy(VariantStudy):
    """One task with one seed; see `Study`.

    Args:
        name: The task.
        seed: Of splits, draws and training.
        limit: Answer this many test queries at most.
        work: Where runs and policies are kept.
        out: Where the result goes.
        dtype: Of the language model.
    """

    def __init__(
        self, name: str, seed: int, *, limit: int | None, work: Path, out: Path, dtype: str = "float32"
    ) -> None:
        super().__init__(name, seed, limit=limit, work=work, out=out, dtype=dtype)
        task = self.workspace.task
        half, rewarded = len(task.pool) // 2, len(task.dev) // 2
        self.new_pool = Pool(list(task.pool)[half:])
        self.judges = task.dev
        self.workspace.task = replace(
            task, pool=Pool(list(task.pool)[:half]), reward=task.dev[:rewarded], dev=task.dev[rewarded:]
        )
        self.result |= {"shots": SHOTS, "pool": half, "new pool": len(self.new_pool)}

    def run_variant(self, variant: str) -> None:
        """Trains, exports, and answers what is not answered yet, baselines included.

        Args:
            variant: One of `VARIANTS`.
        """
        settings = training(variant, self.seed)

        def learn(run: Path) -> None:
            train_corpus_policy_on(self.workspace, run, retriever=None, config=settings, progress=RichProgress())

        new = f"{variant}, new pool"
        answers = (variant, new, f"{new}, labels free", f"{new}, hundred", f"best-of-k as dear as {variant}")
        artifact = self._artifact(variant, self.work / "corpus", asdict(settings), answers=answers, learn=learn)
        self._answer_all(variant, artifact, tokens=self.result["cost"][f"training {variant}"]["tokens"])

    def _answer_all(self, variant: str, artifact: Path, *, tokens: int) -> None:
        engine, pool = self.workspace.engine, self.workspace.task.pool
        fresh = changed_engine(engine, pool=self.new_pool)
        drawn = draw_candidates(self.new_pool, HUNDRED, seed=self.seed)
        hundred = changed_engine(engine, pool=self.new_pool.subset(drawn))

        def policy(own: InferenceEngine, **changes: Any) -> Selector:
            selector = CorpusSelector.load(artifact, own.pool, force=True, engine=lambda: own)
            changed = replace(selector.artifact, manifest=replace(selector.artifact.manifest, **changes))
            return CorpusSelector(changed, own.pool, selector.encoder, engine=own)

        ways = {
            "random": (engine, lambda: RandomSelector(pool, seed=self.seed)),
            "random, new pool": (fresh, lambda: RandomSelector(self.new_pool, seed=self.seed)),
            variant: (engine, lambda: policy(engine)),
            f"{variant}, new pool": (fresh, lambda: policy(fresh)),
            f"{variant}, new pool, labels free": (fresh, lambda: policy(fresh, prompt_labels=())),
            f"{variant}, new pool, hundred": (hundred, lambda: policy(hundred)),
            f"best-of-k as dear as {variant}": (
                engine,
                lambda: BestOfKSelector(engine, self.judges, tokens=tokens, seed=self.seed, progress=RichProgress()),
            ),
        }
        for name, (own, build) in ways.items():

            def answer(queries: Sequence[Example], own: InferenceEngine = own, build: Any = build) -> list[str]:
                return [one.label for one in Pipeline(build(), own).predict(queries, SHOTS)]

            self._answer(name, answer)


def main(
    *,
    tasks: Annotated[str, typer.Option(help="Names of tasks.")] = ",".join(TASKS),
    seeds: Annotated[str, typer.Option(help="Seeds of splits, draws and training.")] = "0,1,2",
    variants: Annotated[str, typer.Option(help="Variants, parted by semicolons.")] = "rl",
    limit: Annotated[int | None, typer.Option(help="Answer this many test queries at most.")] = None,
    work: Annotated[Path, typer.Option(help="Where policies are kept.")] = HERE / ".work" / "epr",
    out: Annotated[Path, typer.Option(help="Where the results go.")] = HERE / "results" / "corpus",
    dtype: Annotated[str, typer.Option(help="Of the language model.")] = "float32",
) -> None:
    """Runs the study, all tasks with the first seed and variant first."""
    for seed in map(int, seeds.split(",")):
        for variant in variants.split(";"):
            for name in tasks.split(","):
                CorpusStudy(name, seed, limit=limit, work=work, out=out, dtype=dtype).run_variant(variant)


if __name__ == "__main__":
    typer.run(main)
