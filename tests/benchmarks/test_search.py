"""Tests of the search benchmark on tiny sizes; nothing here asserts a speed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import search
from selector.errors import UnknownNameError, UsageError


def test_vectors_are_clustered_and_repeatable() -> None:
    """Guards against pure noise, in which nothing is near anything and every index looks bad."""
    rows, queries = search.clustered_rows(500, seed=0), search.clustered_rows(20, seed=1)
    assert (rows.shape, rows.dtype) == ((500, 384), np.float32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(500), abs=1e-5)
    assert np.array_equal(rows, search.clustered_rows(500, seed=0))
    products = queries @ rows.T
    assert products.max(axis=1).mean() > 0.4 > 0.1 > products.mean()
    assert search.nearest_of(queries, rows)[:, :3].tolist() == np.argsort(-products, axis=1)[:, :3].tolist()


def test_every_cell_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the result file: every figure, exact recall of 1, finished cells kept, another machine's refused."""
    out = tmp_path / "results" / "search.json"
    search.main(sizes="300", kinds="hnsw,exact", out=out)
    result = json.loads(out.read_text())
    exact, graph = result["cells"]
    assert [(cell["rows"], cell["kind"]) for cell in (exact, graph)] == [(300, "exact"), (300, "hnsw")]
    assert set(exact) == set(graph) == {"rows", "kind", *search.COLUMNS}
    assert exact["recall_at_10"] == exact["recall_at_64"] == 1
    assert graph["recall_at_64"] > 0.9
    assert min(exact["p50_ms"], exact["resident_mib"], exact["load_seconds"]) > 0
    assert exact["index_mib"] == pytest.approx(300 * 384 * 4 / 2**20, rel=0.01)

    asked = []
    monkeypatch.setattr(
        search, "measured", lambda rows, kind, _: asked.append(kind) or {**graph, "rows": len(rows), "kind": kind}
    )
    search.main(sizes="300", out=out)
    assert asked == ["ivf"]
    assert [cell["kind"] for cell in json.loads(out.read_text())["cells"]] == ["exact", "hnsw", "ivf"]
    out.write_text(json.dumps(result | {"machine": {}}))
    with pytest.raises(UsageError, match="another machine"):
        search.main(sizes="300", out=out)
    with pytest.raises(UnknownNameError, match="exact, hnsw, ivf"):
        search.main(sizes="300", kinds="flat", out=tmp_path / "other.json")


def test_a_graph_that_takes_too_long_is_left_out_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a gap in the figures without a reason, and against one that a higher limit does not fill."""
    out = tmp_path / "search.json"
    figures = dict.fromkeys(search.COLUMNS, 1.0) | {"build_seconds": 10.0}
    monkeypatch.setattr(search, "measured", lambda rows, kind, _: {"rows": len(rows), "kind": kind, **figures})
    search.main(sizes="100,1000", kinds="hnsw,ivf", build_limit=100.0, out=out)
    cells = json.loads(out.read_text())["cells"]
    assert [cell.get("build_seconds") for cell in cells] == [10.0, 10.0, None, 10.0]
    assert "about 150 s, more than the limit of 100 s" in cells[2]["left_out"]
    search.main(sizes="1000", kinds="hnsw", build_limit=200.0, out=out)
    assert [cell["build_seconds"] for cell in json.loads(out.read_text())["cells"]] == [10.0] * 4
