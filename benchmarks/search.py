"""Search latency, memory and recall of the indexes over clustered synthetic vectors.

    python -m benchmarks.search                         everything; goes on where it was stopped
    python -m benchmarks.search --sizes 10000 --kinds exact,hnsw --out search.json

Every size and kind is one cell. The index is built and saved here; a fresh process then maps it into memory and
searches, as a process that serves does, so that its memory is that of the index alone.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from selector.errors import UnknownNameError, UsageError
from selector.retrieval.index import INDEX_FILE, KINDS, Numbers, Rows, VectorIndex

RESULT = Path(__file__).parent / "results" / "search.json"
SIZES = (10_000, 50_000, 100_000, 500_000, 1_000_000)
WIDTH, BLOCK = 384, 50_000
CLUSTERS, COMMON, SPREAD = 100, 0.5, 1.6  # similarities of short texts under a sentence encoder are much like these
K, FEW, QUERIES, BATCH = 64, 10, 300, 100
BUILD_LIMIT = 3600.0
SETUP = {
    "width": WIDTH,
    "k": K,
    "queries": QUERIES,
    "batch": BATCH,
    "vectors": f"synthetic, clustered like embeddings: a mixture of {CLUSTERS} Gaussians, made unit rows; centres are "
    f"random unit vectors plus a common one of length {COMMON}; the root mean square distance from a centre is "
    f"{SPREAD}, with variance falling as 1/i over directions i, so that about 26 of {WIDTH} count; every size draws "
    "from the same mixture, and queries are further draws",
    "searched": "in a fresh process from the index mapped into memory, after a first pass over all queries; latency is "
    f"that of one query with k = {K}, recall at k that of a search for k",
    "resident": "growth of that process by loading and searching, mapped pages it touched included",
}
COLUMNS = {
    "build_seconds": ("build\ns", ",.1f"),
    "index_mib": ("index\nMiB", ",.0f"),
    "load_seconds": ("load\ns", ".4f"),
    "first_query_ms": ("first\nms", ",.1f"),
    "p50_ms": ("p50\nms", ",.2f"),
    "p99_ms": ("p99\nms", ",.2f"),
    "batch_queries_per_second": ("batch\nqueries/s", ",.0f"),
    "recall_at_10": ("recall\n@10", ".3f"),
    "recall_at_64": ("recall\n@64", ".3f"),
    "resident_mib": ("resident\nMiB", ",.0f"),
}
TABLE_WIDTH = 110  # where the output is no terminal


def clustered_rows(count: int, *, seed: int, width: int = WIDTH) -> Rows:
    """Draws vectors that lie like embeddings, in clusters and with few directions that count; see `SETUP`.

    Args:
        count: How many.
        seed: Seeds the draw, not the mixture.
        width: D.

    Returns:
        (count, D) float32 of unit norm.
    """
    directions = np.random.default_rng(0).standard_normal((CLUSTERS + 1, width), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centres = directions[1:] + np.float32(COMMON) * directions[0]
    spread = np.arange(1, width + 1, dtype=np.float32) ** -0.5
    spread *= np.float32(SPREAD) / np.linalg.norm(spread)
    rng = np.random.default_rng([1, seed])
    rows = np.empty((count, width), dtype=np.float32)
    for start in range(0, count, BLOCK):  # so that a million rows need little more than their own memory
        block = rows[start : start + BLOCK]
        rng.standard_normal(block.shape, dtype=np.float32, out=block)
        block *= spread
        block += centres[rng.integers(CLUSTERS, size=len(block))]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def nearest_of(queries: Rows, rows: Rows) -> Numbers:
    """Finds the true neighbours, without any index of ours.

    Args:
        queries: (N, D).
        rows: (P, D).

    Returns:
        (N, K) numbers of rows, nearest first.
    """
    import faiss

    return np.asarray(faiss.knn(queries, rows, K, metric=faiss.METRIC_INNER_PRODUCT)[1], dtype=np.int64)


def served(folder: Path, truth: Numbers) -> dict[str, float]:
    """Measures a saved index in this process, which should be a fresh one.

    Args:
        folder: The index.
        truth: (QUERIES, K) the true neighbours.

    Returns:
        What `COLUMNS` names, but for the figures of building.
    """
    import faiss  # noqa: F401  # its own memory is not the index's

    queries = clustered_rows(QUERIES, seed=1)
    process = psutil.Process()
    before = process.memory_info().rss
    load_seconds, index = _timed(lambda: VectorIndex.load(folder))
    first, _ = _timed(lambda: index.search(queries[:1], K))
    recalls = {f"recall_at_{k}": _recall(index.search(queries, k)[1], truth[:, :k]) for k in (FEW, K)}
    batches = [queries[start : start + BATCH] for start in range(0, QUERIES, BATCH)]
    together = sum(_timed(lambda batch=batch: index.search(batch, K))[0] for batch in batches)  # type: ignore[misc]
    single = [_timed(lambda at=at: index.search(queries[at : at + 1], K))[0] for at in range(QUERIES)]  # type: ignore[misc]
    return {
        "load_seconds": load_seconds,
        "first_query_ms": 1000 * first,
        "p50_ms": 1000 * float(np.percentile(single, 50)),
        "p99_ms": 1000 * float(np.percentile(single, 99)),
        "batch_queries_per_second": QUERIES / together,
        **recalls,
        "resident_mib": (process.memory_info().rss - before) / 2**20,
    }


def measured(rows: Rows, kind: str, truth: Numbers) -> dict[str, Any]:
    """Builds one index, saves it, and has a fresh process search it.

    Args:
        rows: (P, D).
        kind: Of the index.
        truth: (QUERIES, K) the true neighbours.

    Returns:
        The cell.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build_seconds, index = _timed(lambda: VectorIndex(rows, kind=kind))
        index.save(folder)
        del index
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            figures = fresh.submit(served, folder, truth).result()
        size = (folder / INDEX_FILE).stat().st_size / 2**20
    return {"rows": len(rows), "kind": kind, "build_seconds": build_seconds, "index_mib": size, **figures}


def left_out(cells: Sequence[dict[str, Any]], size: int, kind: str, *, build_limit: float) -> str:
    """Tells whether a graph would take too long to build, judging by the largest smaller one.

    Args:
        cells: What was measured.
        size: P.
        kind: Of the index; only "hnsw" is ever left out.
        build_limit: Seconds.

    Returns:
        The reason to leave it out, or nothing.
    """
    smaller = [
        cell for cell in cells if cell["kind"] == kind == "hnsw" and cell["rows"] < size and "left_out" not in cell
    ]
    if not smaller:
        return ""
    known = max(smaller, key=lambda cell: cell["rows"])
    growth = size * math.log(size) / (known["rows"] * math.log(known["rows"]))
    expected = known["build_seconds"] * growth
    if expected <= build_limit:
        return ""
    return (
        f"left out: building would take about {expected:,.0f} s, more than the limit of {build_limit:,.0f} s "
        f"(P log P from the {known['build_seconds']:,.1f} s of {known['rows']:,} rows)"
    )


def table_of(cells: Sequence[dict[str, Any]]) -> Table:
    """Lays cells out.

    Args:
        cells: Of the result file.

    Returns:
        A table for a terminal; why a cell was left out stands below it.
    """
    table = Table(title=f"search, width {WIDTH}, k = {K}", title_justify="left", caption_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("kind")
    for heading, _ in COLUMNS.values():
        table.add_column(heading, justify="right")
    for cell in cells:
        figures = [f"{cell[name]:{form}}" if name in cell else "-" for name, (_, form) in COLUMNS.items()]
        table.add_row(f"{cell['rows']:,}", cell["kind"], *figures)
    reasons = [f"{cell['rows']:,} {cell['kind']} {cell['left_out']}" for cell in cells if "left_out" in cell]
    table.caption = "\n".join(reasons) or None
    return table


def main(
    *,
    sizes: Annotated[str, typer.Option(help="How many vectors.")] = ",".join(map(str, SIZES)),
    kinds: Annotated[str, typer.Option(help="Kinds of index.")] = ",".join(KINDS),
    build_limit: Annotated[float, typer.Option(help="Leave HNSW out where it would build longer, s.")] = BUILD_LIMIT,
    out: Annotated[Path, typer.Option(help="The JSON file; finished cells in it are kept.")] = RESULT,
) -> None:
    """Measures every kind at every size, small sizes first."""
    asked_kinds, asked_sizes = kinds.split(","), sorted(map(int, sizes.split(",")))
    if wrong := [kind for kind in asked_kinds if kind not in KINDS]:
        raise UnknownNameError("index", wrong[0], known=KINDS)
    result = _begun(out)
    cells: list[dict[str, Any]] = result["cells"]
    console = Console(width=max(TABLE_WIDTH, Console().width))
    for size in asked_sizes:
        finished = {cell["kind"] for cell in cells if cell["rows"] == size and "left_out" not in cell}
        if not (missing := [kind for kind in asked_kinds if kind not in finished]):
            continue
        rows = clustered_rows(size, seed=0)
        truth = nearest_of(clustered_rows(QUERIES, seed=1), rows)
        for kind in missing:
            console.print(f"{size:,} rows, {kind}", highlight=False)
            reason = left_out(cells, size, kind, build_limit=build_limit)
            cell = {"rows": size, "kind": kind, "left_out": reason} if reason else measured(rows, kind, truth)
            others = [other for other in cells if (other["rows"], other["kind"]) != (size, kind)]
            cells[:] = sorted([*others, cell], key=lambda one: (one["rows"], KINDS.index(one["kind"])))
            _write(out, result)
    console.print(table_of(cells))


def _begun(out: Path) -> dict[str, Any]:
    import faiss

    from benchmarks.machine import described  # imports torch, which a process that searches does not need

    setup = SETUP | {"faiss": faiss.__version__, "faiss_threads": faiss.omp_get_max_threads()}
    result: dict[str, Any] = {"setup": setup, "machine": described(), "cells": []}
    if out.is_file():
        found = json.loads(out.read_text(encoding="utf-8"))
        if (found["setup"], found["machine"]) != (result["setup"], result["machine"]):
            raise UsageError(
                f"{out} holds figures of another machine or set-up",
                expected="those of this one",
                remedy="Pass another --out, or delete the file.",
            )
        result["cells"] = found["cells"]
    return result


def _write(out: Path, result: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_suffix(".part")
    scratch.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    scratch.replace(out)


def _timed(work: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def _recall(found: Numbers, truth: Numbers) -> float:
    hits = [len(np.intersect1d(own, right)) for own, right in zip(found, truth, strict=True)]
    return sum(hits) / truth.size


if __name__ == "__main__":
    typer.run(main)
