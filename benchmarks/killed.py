"""Kills a scoring process at random moments and checks that nothing it had stored is computed again, or wrong.

    python -m benchmarks.killed --kills 20

A child scores a workload through the score store and is sent SIGKILL at a random moment; the next child goes on. At the
end every stored score is compared with one computed without a store.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.workloads import own_demonstrations, trec_corpus
from selector.lm.cache import CachedLanguageModel, ScoreStore, score_key
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model

RESULT = Path(__file__).parent / "results" / "killed.json"
COMMIT = 24  # requests between two commits, so that a kill always finds some work done and some not


def pairs_of(size: int) -> list[tuple[str, str]]:
    """The requests of the workload."""
    corpus = trec_corpus()
    (call,) = own_demonstrations(corpus, size=size)
    labels = [corpus.template.completion(label) for label in corpus.template.labels]
    prompts = [
        corpus.template.prompt([corpus.pool[index] for index in chosen.indices], query)
        for query, chosen in zip(call.queries, call.selections, strict=True)
    ]
    return [(prompt, label) for prompt in prompts for label in labels]


def child(store: Path, size: int) -> None:
    """Scores the workload, telling first how much of it was stored and at the end how much was computed."""
    lm = CachedLanguageModel(load_language_model(LanguageModelConfig(device="cpu")), ScoreStore(store), commit=COMMIT)
    pairs = pairs_of(size)
    keys = [score_key(lm.fingerprint, *pair) for pair in pairs]
    print(json.dumps({"stored": len(ScoreStore(store).get(keys))}), flush=True)
    lm.logprobs([prompt for prompt, _ in pairs], [completion for _, completion in pairs])
    print(json.dumps({"asked": lm.usage.calls, "cached": lm.usage.cached}), flush=True)


def main(
    kills: Annotated[int, typer.Option(help="How often the child is killed.")] = 20,
    size: Annotated[int, typer.Option(help="Queries in the workload.")] = 200,
    seed: Annotated[int, typer.Option(help="Seeds the moments.")] = 0,
    out: Annotated[Path, typer.Option(help="The JSON file.")] = RESULT,
    store: Annotated[Path | None, typer.Option(help="Run as the child on this store.", hidden=True)] = None,
) -> None:
    """Kills, restarts, and checks."""
    if store is not None:
        child(store, size)
        return
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "scores.sqlite"
        command = [sys.executable, "-m", "benchmarks.killed", "--size", str(size), "--store", str(path)]
        stored = [0]
        for _ in range(kills):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
            assert process.stdout is not None
            found = json.loads(process.stdout.readline())["stored"]
            assert found >= stored[-1], "a stored score was lost"
            stored.append(found)
            time.sleep(float(rng.uniform(0.0, 2.5)))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
        before, after = (json.loads(line) for line in answer.stdout.splitlines())
        result = {
            "kills": kills,
            "requests": after["asked"],
            "stored_at_each_start": [*stored[1:], before["stored"]],
            "stored_before_last_run": before["stored"],
            "answered_from_the_store_in_last_run": after["cached"],
            "largest_difference_nats": _largest_difference(path, size),
        }
    assert after["cached"] == before["stored"], "something stored was computed again"
    assert result["largest_difference_nats"] < 1e-4, "something stored is wrong"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _largest_difference(path: Path, size: int) -> float:
    lm = load_language_model(LanguageModelConfig(device="cpu"))
    pairs = pairs_of(size)
    keys = [score_key(lm.fingerprint, *pair) for pair in pairs]
    found = ScoreStore(path).get(keys)
    assert len(found) == len(set(keys)), "scores are missing"
    fresh = lm.logprobs([prompt for prompt, _ in pairs], [completion for _, completion in pairs])
    return max(abs(found[key].logprob - score.logprob) for key, score in zip(keys, fresh, strict=True))


if __name__ == "__main__":
    typer.run(main)
