"""Measures where the seconds of the engine go: matrix products, attention, the vocabulary, and everything else.

    python -m benchmarks.breakdown

Small samples of workloads (a), (b) and (c); parts of a model are timed by hooks, which is exact on a CPU, where a call
returns when its work is done. Writes breakdown.json.
"""

from __future__ import annotations

import functools
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer

from benchmarks.engine import body_flops, warm
from benchmarks.machine import described, gemm_peak
from benchmarks.workloads import WORKLOADS, trec_corpus
from selector.inference.engine import InferenceEngine
from selector.lm import tree_scoring
from selector.lm.config import LanguageModelConfig
from selector.lm.huggingface import HuggingFaceLanguageModel
from selector.lm.loading import load_language_model
from selector.lm.tree_attention import TreePass

RESULT = Path(__file__).parent / "results" / "breakdown.json"
SIZES = {"a": 120, "b": 20, "c": 3}  # queries
LINEAR, ATTENTION, VOCABULARY = "linear layers", "attention", "vocabulary layer"
OTHER_LAYERS, PLANNING, REST = "other layers", "planning", "everything else"


class Stopwatch:
    """Adds up seconds under names."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Times what happens within.

        Args:
            name: The name.

        Yields:
            Nothing.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Wraps a function so that its calls are timed."""

        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            with self.running(name):
                return function(*args, **options)

        return wrapper

    def stepwise(self, function: Callable[..., Iterator[Any]], name: str) -> Callable[..., Iterator[Any]]:
        """Wraps a generator so that its steps are timed, not what happens between them."""

        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Iterator[Any]:
            steps, end = function(*args, **options), object()
            while True:
                with self.running(name):
                    step = next(steps, end)
                if step is end:
                    return
                yield step

        return wrapper


@contextmanager
def watched(lm: HuggingFaceLanguageModel) -> Iterator[Stopwatch]:
    """Times the parts of scoring.

    Args:
        lm: The language model.

    Yields:
        The watch; it counts the whole forward pass under "model", which contains most of the others.
    """
    watch, model = Stopwatch(), lm._model
    head = model.get_output_embeddings()
    parts = {module: LINEAR for module in model.modules() if isinstance(module, torch.nn.Linear)}
    parts |= {head: VOCABULARY, model: "model"}
    with ExitStack() as stack:
        for module, name in parts.items():
            stack.enter_context(patch.object(module, "forward", watch.timed(module.forward, name)))
        stack.enter_context(patch.object(TreePass, "attend", watch.timed(TreePass.attend, ATTENTION)))
        stack.enter_context(patch.object(TreePass, "__init__", watch.timed(TreePass.__init__, PLANNING)))
        for name, wrap, part in (
            ("_target_logprobs", watch.timed, "normalisers"),
            ("build_tree", watch.timed, PLANNING),
            ("chunks", watch.stepwise, PLANNING),
        ):
            stack.enter_context(patch.object(tree_scoring, name, wrap(getattr(tree_scoring, name), part)))
        yield watch


def shares_of(seconds: Mapping[str, float], total: float) -> dict[str, float]:
    """Turns nested times into shares that add up to 1.

    Args:
        seconds: Of the watch.
        total: Of everything, seconds.

    Returns:
        Part to share.
    """
    inner = seconds[LINEAR] + seconds[ATTENTION] + seconds[VOCABULARY]
    parts = {
        LINEAR: seconds[LINEAR],
        ATTENTION: seconds[ATTENTION],
        VOCABULARY: seconds[VOCABULARY] + seconds["normalisers"],
        OTHER_LAYERS: seconds["model"] - inner,
        PLANNING: seconds[PLANNING],
        REST: total - seconds["model"] - seconds["normalisers"] - seconds[PLANNING],
    }
    return {name: part / total for name, part in parts.items()}


def measured(lm: HuggingFaceLanguageModel, engine: InferenceEngine, calls: list[Any]) -> dict[str, Any]:
    """Runs one workload once under the watch.

    Args:
        lm: The language model.
        engine: The engine before it.
        calls: The calls.

    Returns:
        Work, seconds, shares, and how fast the linear layers were.
    """
    assert isinstance(lm._scores, tree_scoring.TreeScorer)
    lm._scores.forget()
    before = lm.usage
    with watched(lm) as watch:
        start = time.perf_counter()
        for call in calls:
            engine.score(call.queries, call.selections)
        total = time.perf_counter() - start
    computed = (lm.usage - before).tokens_computed
    return {
        "queries": sum(len(call.queries) for call in calls),
        "tokens_computed": computed,
        "seconds": total,
        "shares": shares_of(watch.seconds, total),
        "linear_layers_gflops": computed * body_flops(lm._model) / watch.seconds[LINEAR] / 1e9,
    }


def main(
    out: Annotated[Path, typer.Option(help="The JSON file.")] = RESULT,
    scale: Annotated[float, typer.Option(help="Times the usual number of queries.")] = 1.0,
) -> None:
    """Measures all three workloads."""
    corpus = trec_corpus()
    lm = load_language_model(LanguageModelConfig(device="cpu"))
    assert isinstance(lm, HuggingFaceLanguageModel)
    engine = InferenceEngine(lm, corpus.template, corpus.pool)
    warm(engine, corpus)
    workloads: dict[str, dict[str, Any]] = {}
    peaks = [gemm_peak(lm._model.dtype)[0] / 1e9]
    for name, build in WORKLOADS.items():
        if name[0] in SIZES:
            calls = build(corpus, size=max(1, round(scale * SIZES[name[0]])))
            workloads[name] = measured(lm, engine, calls)
            peaks.append(gemm_peak(lm._model.dtype)[0] / 1e9)
            print(json.dumps({name: workloads[name]}), flush=True)
    for row in workloads.values():  # one yardstick for all: on a shared machine a single look may come out low
        row["linear_layers_of_gemm_peak"] = row["linear_layers_gflops"] / max(peaks)
    result = {
        "source": corpus.source,
        "dtype": str(lm._model.dtype),
        "machine": described(),
        "gemm_gflops": max(peaks),
        "workloads": workloads,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
