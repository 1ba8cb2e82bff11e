"""Tests of a missing framework: each adapter names what to install, and none is imported before it is asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from selector.adapters.columns import Columns
from selector.adapters.source import DemonstrationSource
from selector.errors import ExtraMissingError, PackageMissingError
from selector.strategies.lexical import BM25Selector
from selector.testing import planted_pool

ROOT = Path(__file__).resolve().parents[3]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def without(monkeypatch: pytest.MonkeyPatch, package: str, adapter: str) -> None:
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"selector.adapters.{adapter}", raising=False)


@pytest.mark.parametrize(
    ("adapter", "package", "extra"),
    [
        ("langchain", "langchain_core", "langchain"),
        ("dspy", "dspy", "dspy"),
        ("haystack", "haystack", "haystack"),
        ("sklearn", "sklearn", "sklearn"),
    ],
)
def test_a_missing_framework_is_named(adapter: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against an ImportError that names no extra, and an extra that does not exist."""
    importlib.import_module(f"selector.adapters.{adapter}")  # so that it is there again afterwards
    without(monkeypatch, package, adapter)
    with pytest.raises(ExtraMissingError, match=rf"shotsmith\[{extra}\]"):
        importlib.import_module(f"selector.adapters.{adapter}")
    assert extra in EXTRAS


def test_a_missing_harness_and_openicl_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the two whose package is looked for elsewhere."""
    from selector.adapters.lm_eval import demonstration_sampler

    monkeypatch.setitem(sys.modules, "lm_eval.api.samplers", None)
    source = DemonstrationSource(BM25Selector, planted_pool(8), Columns(("text",)))
    with pytest.raises(ExtraMissingError, match=r"shotsmith\[lm-eval\]"):
        demonstration_sampler(source)
    assert "lm-eval" in EXTRAS
    without(monkeypatch, "openicl", "openicl")
    with pytest.raises(PackageMissingError, match="--no-deps openicl"):
        importlib.import_module("selector.adapters.openicl")


def test_no_framework_is_imported_unasked() -> None:
    """Guards `import selector.adapters` and its shared modules against seconds of foreign imports."""
    code = "import selector.adapters, selector.adapters.source, sys; print(*{n.partition('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"langchain_core", "dspy", "haystack", "sklearn", "datasets", "lm_eval", "torch"} & set(
        done.stdout.split()
    )
