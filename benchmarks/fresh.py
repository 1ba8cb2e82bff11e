"""Runs one workload in a process of its own, so that its memory is not hidden by what an earlier one left behind.

Memory is counted from right after the model was loaded, in a process that did nothing else: an allocator gives memory
that was used before to the next that asks, and a watcher of the whole process sees nothing of it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from benchmarks.machine import settled_memory, watched_memory
from benchmarks.workloads import WORKLOADS, Call, trec_corpus
from selector.inference.engine import InferenceEngine
from selector.lm.config import LanguageModelConfig
from selector.lm.huggingface import HuggingFaceLanguageModel
from selector.lm.loading import load_language_model
from selector.lm.tree_scoring import TreeScorer

MIB = 2**20


def measured_afresh(workload: str, *, size: int = 0, pieces: int = 1, memory_mib: int = 0) -> dict[str, Any]:
    """Runs a workload in a fresh process.

    Args:
        workload: A name of `WORKLOADS`.
        size: How large; 0 is its usual size.
        pieces: Into how many calls each of its calls is cut.
        memory_mib: The memory budget, MiB; 0 is the usual one.

    Returns:
        What `measured_here` returns there.
    """
    options = {"--workload": workload, "--size": size, "--pieces": pieces, "--memory-mib": memory_mib}
    command = [sys.executable, "-m", "benchmarks.fresh", *(str(part) for pair in options.items() for part in pair)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result


def measured_here(lm: HuggingFaceLanguageModel, workload: str, *, size: int, pieces: int) -> dict[str, Any]:
    """Runs a workload with a model that was just loaded.

    Args:
        lm: The model.
        workload: A name of `WORKLOADS`.
        size: How large; 0 is its usual size.
        pieces: Into how many calls each of its calls is cut.

    Returns:
        Work, seconds, and memory in MiB beside the weights: the peak, the budget, and what kept prefixes took of it.
    """
    baseline = settled_memory()
    corpus = trec_corpus()
    engine = InferenceEngine(lm, corpus.template, corpus.pool)
    options = {"size": size} if size else {}
    calls = [part for call in WORKLOADS[workload](corpus, **options) for part in cut(call, pieces)]
    before, start, worked = lm.usage, time.perf_counter(), time.process_time()
    kept = []
    with watched_memory(baseline) as memory:
        for call in calls:
            engine.score(call.queries, call.selections)
            kept.append(_kept_bytes(lm))
        seconds, processor = time.perf_counter() - start, time.process_time() - worked
    budget = lm._memory.budget
    return {
        "calls": len(calls),
        "tokens_computed": (lm.usage - before).tokens_computed,
        "seconds": seconds,
        "processor_seconds": processor,
        "peak_memory_mib": memory[0] / MIB,
        "memory_budget_mib": budget / MIB,
        "peak_below_budget": memory[0] < budget,
        "kept_prefixes_mib_after_first_call": kept[0] / MIB,
        "kept_prefixes_mib_at_the_end": kept[-1] / MIB,
    }


def cut(call: Call, pieces: int) -> Iterator[Call]:
    """Cuts a call into smaller ones.

    Args:
        call: The call.
        pieces: How many.

    Yields:
        Calls of as even a size as can be.
    """
    edges = [len(call.queries) * number // pieces for number in range(pieces + 1)]
    for start, end in itertools.pairwise(edges):
        if end > start:
            yield dataclasses.replace(call, queries=call.queries[start:end], selections=call.selections[start:end])


def _kept_bytes(lm: HuggingFaceLanguageModel) -> int:
    assert isinstance(lm._scores, TreeScorer)
    return lm._scores._arena.bytes_per_slot * lm._scores._slots.capacity


def main(
    workload: Annotated[str, typer.Option(help="The workload.")],
    size: Annotated[int, typer.Option(help="How large; 0 is its usual size.")] = 0,
    pieces: Annotated[int, typer.Option(help="Into how many calls each call is cut.")] = 1,
    memory_mib: Annotated[int, typer.Option(help="The memory budget, MiB; 0 is the usual one.")] = 0,
) -> None:
    """Prints one line of JSON."""
    lm = load_language_model(LanguageModelConfig(device="cpu", memory_mib=memory_mib))
    assert isinstance(lm, HuggingFaceLanguageModel)
    print(json.dumps(measured_here(lm, workload, size=size, pieces=pieces)))


if __name__ == "__main__":
    typer.run(main)
