"""Tests of the OpenICL retriever: against a base class of the same shape, and against OpenICL where it is installed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from selector.errors import TooFewExamplesError
from selector.strategies.lexical import BM25Selector
from selector.testing import planted_examples

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-peers" / "openicl" / "bin" / "python"
PROGRAM = """
import json, sys
from datasets import Dataset, DatasetDict
from openicl import DatasetReader, PromptTemplate
from selector.adapters.openicl import DemonstrationRetriever
from selector.strategies.random import RandomSelector
rows = json.loads(sys.stdin.read())
data = DatasetDict({name: Dataset.from_list(part) for name, part in rows.items()})
reader = DatasetReader(data, input_columns=["text"], output_column="label")
retriever = DemonstrationRetriever(reader, lambda pool: RandomSelector(pool, seed=0), ice_num=3)
found = retriever.retrieve()
print(json.dumps({"indices": found, "prompt": retriever.generate_ice(found[0])}))
"""


def rows(count: int, **options: Any) -> list[dict[str, str]]:
    return [{**one.fields, "label": str(one.label)} for one in planted_examples(count, **options)]


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The adapter over a base class that keeps what OpenICL's does."""

    class BaseRetriever:
        def __init__(self, dataset_reader: Any, *, ice_num: int, index_split: str = "train", test_split: str = "test"):
            self.index_ds = dataset_reader.dataset[index_split]
            self.test_ds = dataset_reader.dataset[test_split]
            self.ice_num = ice_num

    module = ModuleType("openicl")
    module.BaseRetriever = BaseRetriever  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openicl", module)
    monkeypatch.delitem(sys.modules, "selector.adapters.openicl", raising=False)
    yield importlib.import_module("selector.adapters.openicl")
    sys.modules.pop("selector.adapters.openicl")


def test_positions_are_those_of_the_index_rows(adapter: Any) -> None:
    """Guards the most useful one last, numeric labels, and that a test row that is also indexed leaves itself out."""
    train = [{"text": f"what is {number}", "label": number} for number in range(5)]
    train += [{"text": "which bird sings", "label": 7}, {"text": "which bird sings loud", "label": 7}]
    data = {"train": train, "test": [{"text": "which bird sings loud", "label": 7}]}
    reader = SimpleNamespace(dataset=data, input_columns=["text"], output_column="label")
    retriever = adapter.DemonstrationRetriever(reader, BM25Selector, ice_num=2)
    (found,) = retriever.retrieve()
    assert found[-1] == 5
    assert 6 not in found
    with pytest.raises(TooFewExamplesError):
        adapter.DemonstrationRetriever(reader, BM25Selector, ice_num=7).retrieve()


def test_openicl_itself_shows_the_chosen_rows() -> None:
    """Guards the shim against the real base class: splits, positions, order in the prompt."""
    if not PYTHON.is_file():
        pytest.skip("OpenICL is not installed; `make bench-peers` does that")
    given = {"train": rows(12), "test": rows(2, seed=3, prefix="query")}
    done = subprocess.run(
        [str(PYTHON), "-c", PROGRAM],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [len(found) for found in answer["indices"]] == [3, 3]
    places = [answer["prompt"].index(given["train"][index]["text"]) for index in answer["indices"][0]]
    assert places == sorted(places)
