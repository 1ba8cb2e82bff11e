"""Kills a scoring process at random moments and checks that nothing it had stored is computed again, or wrong.

    python -m benchmarks.killed --kills 20

A child scores a workload through the score store, which it writes after every prompt. It is sent SIGKILL after a random
number of such commits and a random part of the time to the next; the next child goes on. At the end every stored score
is compared with one computed without a store. Children are forks of a process that has loaded the model and scored
nothing, so that twenty of them start in seconds.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.workloads import mining, trec_corpus
from selector.lm.base import CompletionScore, LanguageModel
from selector.lm.cache import CachedLanguageModel, ScoreStore, score_key
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model

RESULT = Path(__file__).parent / "results" / "killed.json"
COMMIT = 6  # requests between two commits: the labels of one prompt
CANDIDATES = 6  # prompts of a query
MOST_PAUSE = 5.0  # seconds; how long a parent waits for a commit that does not come

Round = dict[str, Any]


class ToldStore(ScoreStore):
    """A score store that tells of every commit, and how much of it was there before.

    Args:
        path: The SQLite file.
        tell: Takes what is told.
    """

    def __init__(self, path: Path, tell: Callable[[Round], None]) -> None:
        super().__init__(path)
        self._tell = tell

    def put(self, scores: Mapping[bytes, CompletionScore]) -> None:
        """Stores scores; see `ScoreStore.put`."""
        again = len(self.get(list(scores)))
        super().put(scores)
        self._tell({"stored": len(scores), "computed_again": again})


def pairs_of(prompts: int) -> list[tuple[str, str]]:
    """The requests of the workload: one-shot prompts, each with all labels."""
    corpus = trec_corpus()
    (call,) = mining(corpus, size=-(-prompts // CANDIDATES), candidates=CANDIDATES)
    texts = [
        corpus.template.prompt([corpus.pool[index] for index in chosen.indices], query)
        for query, chosen in zip(call.queries[:prompts], call.selections[:prompts], strict=True)
    ]
    return [(text, corpus.template.completion(label)) for text in texts for label in corpus.template.labels]


def child(model: LanguageModel, path: Path, pairs: Sequence[tuple[str, str]], sender: Connection) -> None:
    """Scores the workload, telling how much of it was stored at the start, every commit, and the work at the end."""
    lm = CachedLanguageModel(model, ToldStore(path, sender.send), commit=COMMIT)
    with closing(ScoreStore(path)) as store:
        sender.send({"stored_at_start": len(store.get([score_key(lm.fingerprint, *pair) for pair in pairs]))})
    lm.logprobs([prompt for prompt, _ in pairs], [completion for _, completion in pairs])
    sender.send({"asked": lm.usage.calls, "from_the_store": lm.usage.cached})


def one_round(start: Callable[[], tuple[Any, Connection]], *, commits: int, part: float, interval: float) -> Round:
    """Starts a child and kills it.

    Args:
        start: Starts a child and gives the process and what it tells.
        commits: After how many commits it is killed.
        part: After what part of the time to the next one, 0 to 1.
        interval: How long a commit took so far, seconds.

    Returns:
        What was seen.

    Raises:
        RuntimeError: When the child ended before it could be killed.
    """
    process, receiver = start()
    found = receiver.recv()["stored_at_start"]
    told, moments = [], [time.perf_counter()]
    for _ in range(commits):
        told.append(receiver.recv())
        moments.append(time.perf_counter())
    interval = (moments[-1] - moments[0]) / commits if commits else interval
    time.sleep(min(part * interval, MOST_PAUSE))
    process.kill()
    process.join()
    told += rest(receiver)
    if process.exitcode != -9 or any("asked" in line for line in told):
        raise RuntimeError("a child ended before it was killed: choose more prompts or fewer kills")
    return {
        "stored_at_start": found,
        "killed_after_commits": commits,
        "and_part_of_the_next": round(part, 3),
        "requests_told_as_stored": sum(line["stored"] for line in told),
        "computed_again": sum(line["computed_again"] for line in told),
        "seconds_a_commit": interval,
    }


def rest(receiver: Connection) -> list[Round]:
    """What a process told that nobody read yet."""
    told = []
    try:
        while receiver.poll():
            told.append(receiver.recv())
    except (EOFError, ConnectionResetError):
        pass
    return told


def main(
    kills: Annotated[int, typer.Option(help="How often the child is killed.")] = 20,
    prompts: Annotated[int, typer.Option(help="Prompts in the workload, six requests each.")] = 120,
    seed: Annotated[int, typer.Option(help="Seeds the moments.")] = 0,
    out: Annotated[Path, typer.Option(help="The JSON file.")] = RESULT,
) -> None:
    """Kills, restarts, and checks."""
    rng = np.random.default_rng(seed)
    # All of the work but some for the last run is spread over the rounds; each may get one commit more than planned.
    plan = rng.multinomial(max(0, prompts - 2 * kills), [1 / kills] * kills)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)  # a process with threads must not be forked
    model, pairs = load_language_model(LanguageModelConfig(device="cpu")), pairs_of(prompts)
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "scores.sqlite"
        start = partial(started, model, path, pairs)
        interval = 0.2
        for commits in plan.tolist():
            rounds.append(one_round(start, commits=commits, part=float(rng.uniform()), interval=interval))
            interval = rounds[-1].pop("seconds_a_commit")
            rounds[-1]["file_is_whole"] = is_whole(path)
            print(json.dumps(rounds[-1]), flush=True)
        result = summary(rounds, last=last_run(start), largest=largest_difference(model, path, pairs))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "rounds"}, indent=2))
    check(result)


def started(model: LanguageModel, path: Path, pairs: Sequence[tuple[str, str]]) -> tuple[Any, Connection]:
    """Starts a child on a store."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(model, path, pairs, sender))
    process.start()
    sender.close()  # so that the child's end is the only one
    return process, receiver


def last_run(start: Callable[[], tuple[Any, Connection]]) -> Round:
    """Lets a child finish the work."""
    process, receiver = start()
    found: Round = receiver.recv()
    again = 0
    while "asked" not in (line := receiver.recv()):
        again += line["computed_again"]
    process.join()
    return {**found, **line, "computed_again": again}


def summary(rounds: list[Round], *, last: Round, largest: float) -> Round:
    """What all rounds have shown.

    Args:
        rounds: Of `one_round`.
        last: Of `last_run`.
        largest: The largest difference of a stored score and a fresh one, nats.

    Returns:
        The content of killed.json.
    """
    starts = [*(one["stored_at_start"] for one in rounds), last["stored_at_start"]]
    gains = [after - before for before, after in itertools.pairwise(starts)]
    return {
        "kills": len(rounds),
        "requests": last["asked"],
        "requests_a_commit": COMMIT,
        "rounds_with_progress": sum(gain > 0 for gain in gains),
        "stored_by_killed_runs": last["stored_at_start"],
        "stored_and_lost": sum(
            max(0, one["requests_told_as_stored"] - gain) for one, gain in zip(rounds, gains, strict=True)
        ),
        "stored_and_computed_again": sum(one["computed_again"] for one in [*rounds, last]),
        "from_the_store_in_last_run": last["from_the_store"],
        "computed_in_last_run": last["asked"] - last["from_the_store"],
        "file_was_whole_after_every_kill": all(one["file_is_whole"] for one in rounds),
        "largest_difference_nats": largest,
        "rounds": rounds,
    }


def check(result: Round) -> None:
    """Fails when a promise was broken.

    Args:
        result: Of `summary`.

    Raises:
        RuntimeError: When something stored was lost, computed again or wrong.
    """
    broken = {
        "a stored score was lost": result["stored_and_lost"],
        "something stored was computed again": result["stored_and_computed_again"]
        or result["from_the_store_in_last_run"] != result["stored_by_killed_runs"],
        "the file was damaged": not result["file_was_whole_after_every_kill"],
        "something stored is wrong": result["largest_difference_nats"] >= 1e-4,
    }
    if any(broken.values()):
        raise RuntimeError("; ".join(name for name, happened in broken.items() if happened))


def is_whole(path: Path) -> bool:
    """Whether SQLite finds nothing wrong with the file."""
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def largest_difference(model: LanguageModel, path: Path, pairs: Sequence[tuple[str, str]]) -> float:
    """Compares every stored score with a fresh one, nats."""
    keys = [score_key(model.fingerprint, *pair) for pair in pairs]
    with closing(ScoreStore(path)) as store:
        found = store.get(keys)
    fresh = model.logprobs([prompt for prompt, _ in pairs], [completion for _, completion in pairs])
    return max(abs(found[key].logprob - score.logprob) for key, score in zip(keys, fresh, strict=True))


if __name__ == "__main__":
    typer.run(main)
