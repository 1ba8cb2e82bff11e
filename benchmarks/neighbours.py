"""How fast neighbours are found, next to LangChain's example selectors and DSPy's KNN.

    make bench-peers                                  installs them, each in an environment of its own
    python -m benchmarks.neighbours

One pool of 10,000 real texts, one encoder, the same vectors for all, one thread. First embeddings are looked up, so
that the search alone is timed; then queries are embedded. Every round asks each library in a process of its own, one
after the other, so that what else runs on the machine meets all of them. What they find is compared, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from benchmarks import SHARED_DATA
from benchmarks.machine import described
from benchmarks.peers import ENVIRONMENTS, HERE
from benchmarks.peers.stopwatch import timed
from selector.data.assets import find_bundled
from selector.data.pool import Pool, normalised_text
from selector.errors import DataFileError, UsageError
from selector.retrieval.encoder import SentenceEncoder
from selector.retrieval.index import Rows
from selector.strategies.base import Selector
from selector.strategies.dense import NearestSelector
from selector.strategies.diverse import MMRSelector
from selector.types import Example

RESULT: Final = Path(__file__).parent / "results" / "neighbours.json"

TASKS: Final = ("trec6", "subj", "agnews", "sst2")
POOL, QUERIES, EMBEDDED, SLOW, K, SHORTLIST, ROUNDS = 10_000, 1000, 200, 20, 4, 32, 6
ENCODER: Final = "all-minilm-l6-v2"
OURS: Final = "shotsmith"
PROGRAMS: Final = {"langchain": "langchain_neighbours.py", "dspy": "dspy_neighbours.py"}
SAME: Final = 1e-5  # similarities closer than this are ties, which libraries break as they like


class Known:
    """Looks embeddings up.

    Args:
        rows: Text to its embedding.
    """

    fingerprint = "known"

    def __init__(self, rows: Mapping[str, Rows]) -> None:
        self._rows = rows
        self.width = len(next(iter(rows.values())))

    def encode(self, texts: Sequence[str]) -> Rows:
        """Looks texts up; see `TextEncoder.encode`."""
        other = next(iter(self._rows.values()))
        return np.stack([self._rows.get(text, other) for text in texts])


def read_texts(folder: Path, *, pool: int, queries: int) -> tuple[list[str], list[str]]:
    """Reads distinct real texts.

    Args:
        folder: The data sets.
        pool: How many for the pool, of the training rows.
        queries: How many queries, of the test rows, as many of each data set as of any other.

    Returns:
        The pool's texts and the queries'; no text occurs twice.

    Raises:
        DataFileError: When there are too few.
    """
    seen: set[str] = set()

    def fresh(name: str, part: str) -> list[str]:
        lines = (folder / name / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
        found = []
        for text in (json.loads(line)["text"] for line in lines):
            folded = normalised_text({"text": text})
            if folded not in seen:
                seen.add(folded)
                found.append(text)
        return found

    members = [text for name in TASKS for text in fresh(name, "train")][:pool]
    asked = [text for name in TASKS for text in fresh(name, "test")[: queries // len(TASKS)]]
    if len(members) < pool or len(asked) < queries // len(TASKS) * len(TASKS):
        raise DataFileError(
            f"{folder} holds {len(members)} texts for the pool and {len(asked)} queries",
            expected=f"{pool} and {queries}",
            remedy="Ask for fewer, or put the data sets beside the checkout.",
        )
    return members, asked


def answer_ours(job: Mapping[str, Any]) -> dict[str, Any]:
    """Answers a job with our selectors.

    Args:
        job: See `benchmarks.peers.stopwatch.read_job`.

    Returns:
        Name of a way to what `timed` gives.
    """
    vectors = np.load(job["vectors"])
    texts = [*job["pool"], *job["queries"]]
    known = Known(dict(zip(texts, [*vectors["pool"], *vectors["queries"]], strict=True)))
    pool = Pool(Example(str(number), {"text": text}, "any") for number, text in enumerate(job["pool"]))
    encoder = SentenceEncoder.load(job["encoder"]) if job["encoder"] else None
    nearest = NearestSelector(pool, known, query_encoder=encoder)
    ways: dict[str, Selector] = {"nearest": nearest}
    if encoder is None:
        ways["mmr"] = MMRSelector(pool, known, shortlist=job["shortlist"])
    answers = {}
    for name, way in ways.items():

        def many(asked: Sequence[str], way: Selector = way) -> list[list[int]]:
            queries = [Example(f"q{number}", {"text": text}) for number, text in enumerate(asked)]
            return [list(one.indices[::-1]) for one in way.select(queries, job["k"])]

        answers[name] = timed(lambda text, many=many: many([text])[0], many, job["queries"])
    return answers


def ask(library: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Lets a library answer a job in a process of its own.

    Args:
        library: "shotsmith" or one of `PROGRAMS`.
        job: The job.

    Returns:
        Its answer.

    Raises:
        UsageError: When its program fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        question, answer = Path(scratch) / "job.json", Path(scratch) / "answer.json"
        question.write_text(json.dumps(job))
        command = [sys.executable, "-m", "benchmarks.neighbours", "--job", str(question), "--answer", str(answer)]
        if library != OURS:
            python = ENVIRONMENTS / library / "bin" / "python"
            command = [str(python), str(HERE / PROGRAMS[library]), str(question), str(answer)]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        finished = subprocess.run(  # noqa: S603
            command,
            env={**os.environ, **threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            told = finished.stderr.strip().splitlines() or ["nothing"]
            raise UsageError(f"{library} failed: {told[-1]}", expected="an answer", remedy="Run: make bench-peers")
        return dict(json.loads(answer.read_text()))


def disagreement(found: Sequence[Sequence[int]], other: Sequence[Sequence[int]], rows: Rows, queries: Rows) -> int:
    """Counts queries for which other neighbours were found, ties not counted.

    Args:
        found: N lists of positions.
        other: N lists of positions.
        rows: (P, D) embeddings of the pool.
        queries: (N, D) embeddings of the queries.

    Returns:
        How many lists differ in a position whose similarity differs.
    """
    return sum(
        list(mine) != list(yours)
        and (
            len(mine) != len(yours) or float(np.abs(rows[list(mine)] @ query - rows[list(yours)] @ query).max()) > SAME
        )
        for mine, yours, query in zip(found, other, queries, strict=False)
    )


def measured(job: Mapping[str, Any], libraries: Sequence[str], *, rounds: int) -> dict[str, Any]:
    """Lets all libraries answer a job, round after round, and compares what they found with what is ours.

    Args:
        job: The job.
        libraries: The first of them is ours.
        rounds: How often each is asked.

    Returns:
        Library and way to p50 and p99 of single queries and of batches, milliseconds a query, and how many queries
        found other neighbours than ours did.
    """
    vectors = np.load(job["vectors"])
    singles: defaultdict[str, list[float]] = defaultdict(list)
    batches: defaultdict[str, list[float]] = defaultdict(list)
    found: dict[str, list[list[int]]] = {}
    for number in range(rounds):
        first = number % len(libraries)  # whoever is asked first may find the machine in another mood
        for library in [*libraries[first:], *libraries[:first]]:
            for way, times in ask(library, job).items():
                singles[f"{library}: {way}"] += times["single_ms"]
                batches[f"{library}: {way}"].append(times["batch_ms"])
                found[f"{library}: {way}"] = times["found"]
    return {
        name: {
            "p50_ms": float(np.percentile(singles[name], 50)),
            "p99_ms": float(np.percentile(singles[name], 99)),
            "batch_ms": float(np.median(batches[name])),
            "asked": len(own),
            "different": disagreement(
                found[f"{OURS}: {name.partition(': ')[2].partition(',')[0]}"], own, vectors["pool"], vectors["queries"]
            ),
        }
        for name, own in found.items()
    }


def main(
    *,
    pool: int = POOL,
    queries: int = QUERIES,
    rounds: int = ROUNDS,
    data: Path = SHARED_DATA,
    out: Path = RESULT,
    job: Annotated[Path | None, typer.Option(hidden=True)] = None,
    answer: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measures all that are installed and writes the result; with a job, answers it and no more."""
    if job is not None and answer is not None:
        answer.write_text(json.dumps(answer_ours(json.loads(job.read_text()))))
        return
    libraries = [OURS, *(name for name in PROGRAMS if (ENVIRONMENTS / name / "bin" / "python").is_file())]
    members, asked = read_texts(data, pool=pool, queries=queries)
    folder = str(find_bundled(ENCODER))
    encoder = SentenceEncoder.load(folder)
    with tempfile.TemporaryDirectory() as scratch:
        vectors = Path(scratch) / "vectors.npz"
        np.savez(vectors, pool=encoder.encode(members), queries=encoder.encode(asked))
        base = {"pool": members, "queries": asked, "vectors": str(vectors), "k": K, "shortlist": SHORTLIST}
        search = measured({**base, "encoder": None, "slow": SLOW}, libraries, rounds=rounds)
        few = asked[:: max(1, len(asked) // EMBEDDED)]
        np.savez(vectors, pool=encoder.encode(members), queries=encoder.encode(few))
        embedded = measured({**base, "queries": few, "encoder": folder, "slow": SLOW}, libraries, rounds=rounds)
    result = {
        "command": "python -m benchmarks.neighbours",
        "machine": {**described(), "threads": 1},
        "setup": {"pool": pool, "k": K, "shortlist": SHORTLIST, "rounds": rounds, "encoder": ENCODER, "texts": TASKS},
        "search": search,
        "embedding": embedded,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
