"""Measures the inference engine, plain transformers and, where installed, its peers, all in one run.

    make bench                    the engine and plain transformers
    make bench-peers bench        lm-evaluation-harness and OpenICL too, each in an environment of its own

Prints one table and writes one JSON file. Ratios mean something on a noisy machine, rates do not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.fresh import measured_afresh
from benchmarks.machine import described, gemm_peak
from benchmarks.peers import installed_peers, peer_rate
from benchmarks.plain import every_label_seconds, first_token_seconds
from benchmarks.workloads import SHOTS, WORKLOADS, Call, Corpus, trec_corpus
from selector.inference.engine import InferenceEngine
from selector.lm.config import LanguageModelConfig
from selector.lm.huggingface import HuggingFaceLanguageModel
from selector.lm.loading import load_language_model
from selector.lm.prefix_tree import TokenRequest, build_tree
from selector.types import Selection

RESULT = Path(__file__).parent / "results" / "engine.json"


def requests_of(lm: HuggingFaceLanguageModel, engine: InferenceEngine, call: Call) -> list[TokenRequest]:
    """The token requests behind one call."""
    pairs = [
        pair
        for query, chosen in zip(call.queries, call.selections, strict=True)
        for pair in engine._requests(query, chosen)
    ]
    return lm._tokenised([prompt for prompt, _ in pairs], [completion for _, completion in pairs])


def body_flops(model: Any) -> int:
    """Floating-point operations of one token without attention's products and without the vocabulary layer."""
    embeddings = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())}
    return 2 * sum(weight.numel() for weight in model.parameters() if id(weight) not in embeddings and weight.ndim == 2)


def measured(
    lm: HuggingFaceLanguageModel, engine: InferenceEngine, calls: list[Call], *, runs: int
) -> dict[str, float]:
    """Runs one workload some times and counts what the run of median length did."""
    trees = [build_tree(requests_of(lm, engine, call)) for call in calls]
    logical = sum(len(request.tokens) - 1 for call in calls for request in requests_of(lm, engine, call))
    peaks = [gemm_peak(lm._model.dtype)]
    done = []
    for _ in range(runs):
        done.append(one_run(lm, engine, calls))
        peaks.append(gemm_peak(lm._model.dtype))
    seconds, computed = sorted(done)[runs // 2]
    sustained, fastest = (max(values) for values in zip(*peaks, strict=True))
    unique = sum(len(tree.tokens) for tree in trees)
    reads = sum(len(set(tree.read_at.tolist())) for tree in trees)
    body, vocabulary = body_flops(lm._model), 2 * lm._model.get_output_embeddings().weight.numel()
    return {
        "queries": sum(len(call.queries) for call in calls),
        "seconds": seconds,
        "queries_per_second": sum(len(call.queries) for call in calls) / seconds,
        "tokens_computed": computed,
        "tokens_unique_within_calls": unique,
        "tokens_logical": logical,
        "computed_tokens_per_second": computed / seconds,
        "logical_tokens_per_second": logical / seconds,
        "duplicates_avoided": (logical - computed) / (logical - unique) if logical > unique else 1.0,
        "gemm_gflops": sustained / 1e9,
        "gemm_gflops_fastest_product": fastest / 1e9,
        "gemm_share": computed * body / seconds / sustained,
        "gemm_share_of_fastest_product": computed * body / seconds / fastest,
        "gemm_share_with_vocabulary": (computed * body + reads * vocabulary) / seconds / sustained,
    }


def one_run(lm: HuggingFaceLanguageModel, engine: InferenceEngine, calls: list[Call]) -> tuple[float, int]:
    """Seconds and tokens computed of one run from nothing."""
    lm._scores.forget()
    before, start = lm.usage, time.perf_counter()
    for call in calls:
        engine.score(call.queries, call.selections)
    return time.perf_counter() - start, (lm.usage - before).tokens_computed


def compared(
    lm: HuggingFaceLanguageModel, engine: InferenceEngine, calls: list[Call], *, sample: int
) -> dict[str, float]:
    """Plain transformers on the beginning of the same workload, queries a second."""
    pairs = [pair for call in calls for pair in zip(call.queries, call.selections, strict=True)]
    prompts = [
        engine.template.prompt([engine.pool[index] for index in chosen.indices], query) for query, chosen in pairs
    ]
    few = prompts[: max(1, sample // 4)]
    completions = [engine.template.completion(label) for label in engine.labels]
    return {
        "plain_first_token": len(prompts[:sample]) / first_token_seconds(lm._model, lm._tokenizer, prompts[:sample]),
        "plain_every_label": len(few) / every_label_seconds(lm._model, lm._tokenizer, few, completions),
    }


def warm(engine: InferenceEngine, corpus: Corpus) -> None:
    """Lets libraries allocate what they allocate once."""
    engine.score(corpus.queries[-8:], [Selection.of(*range(SHOTS))] * 8)


def main(
    out: Annotated[Path, typer.Option(help="The JSON file.")] = RESULT,
    only: Annotated[str, typer.Option(help="Letters of the workloads to run.")] = "abcde",
    sample: Annotated[int, typer.Option(help="Queries for plain transformers.")] = 160,
    runs: Annotated[int, typer.Option(help="Runs of the engine, of which the median counts.")] = 3,
    peer_sample: Annotated[int, typer.Option(help="Queries for each peer; they are slow.")] = 24,
) -> None:
    """Runs all workloads."""
    corpus = trec_corpus()
    lm = load_language_model(LanguageModelConfig(device="cpu"))
    assert isinstance(lm, HuggingFaceLanguageModel)
    engine = InferenceEngine(lm, corpus.template, corpus.pool)
    warm(engine, corpus)
    context = {"source": corpus.source, "dtype": str(lm._model.dtype), "machine": described()}
    results = kept(out, context)
    for name, build in WORKLOADS.items():
        if name[0] not in only:
            continue
        calls = build(corpus)
        rates: dict[str, Any] = {"engine": measured(lm, engine, calls, runs=runs)}
        rates["memory"] = measured_afresh(name)  # here, memory of earlier workloads would hide that of later ones
        rates["others"] = compared(lm, engine, calls, sample=sample)
        if name[0] in "ab":
            for peer in installed_peers():
                rates["others"][peer.name] = peer_rate(peer, engine, calls[0], sample=peer_sample)
        rates["ratio"] = {
            other: rates["engine"]["queries_per_second"] / rate for other, rate in rates["others"].items() if rate
        }
        results[name] = rates
        _write(out, {**context, "workloads": {name: results[name] for name in WORKLOADS if name in results}})
        Console().print(table(results))


def kept(out: Path, context: dict[str, Any]) -> dict[str, Any]:
    """Workloads measured before under the same conditions; those that run now take their place."""
    found = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    workloads: dict[str, Any] = found.pop("workloads", {})
    return workloads if found == context else {}


def table(results: dict[str, Any]) -> Table:
    """Lays the results out."""
    shown: dict[str, Callable[[dict[str, Any]], str]] = {
        "queries/s": lambda row: f"{row['queries_per_second']:.1f}",
        "computed tok/s": lambda row: f"{row['computed_tokens_per_second']:,.0f}",
        "logical tok/s": lambda row: f"{row['logical_tokens_per_second']:,.0f}",
        "duplicates avoided": lambda row: f"{row['duplicates_avoided']:.1%}",
        "of GEMM peak": lambda row: f"{row['gemm_share']:.0%}",
        "of fastest GEMM": lambda row: f"{row['gemm_share_of_fastest_product']:.0%}",
    }
    others = list(dict.fromkeys(other for rates in results.values() for other in rates["ratio"]))
    grid = Table("workload", *shown, "MiB", *(f"x {other}" for other in others))
    for name, rates in results.items():
        cells = [form(rates["engine"]) for form in shown.values()]
        cells.append(f"{rates['memory']['peak_memory_mib']:.0f}" if "memory" in rates else "")
        grid.add_row(
            name, *cells, *(f"{rates['ratio'][other]:.1f}" if other in rates["ratio"] else "" for other in others)
        )
    return grid


def _write(out: Path, results: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
