"""Tests of reading rows from files."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from selector.data.loading import load_examples, load_hub_examples
from selector.errors import DataFileError, InvalidExampleError

ROWS = [{"text": "a fine film", "label": "pos"}, {"text": 'quoted, "twice"\nover two lines', "label": 1}]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    elif path.suffix == ".csv":
        import csv

        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([{**row, "label": str(row["label"])} for row in rows]), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_all_formats_give_the_same_examples(tmp_path: Path, suffix: str) -> None:
    """Guards quoting, line breaks, numbers as labels and the uids of rows."""
    path = write(tmp_path / f"rows{suffix}", ROWS)
    examples = load_examples(path, inputs=["text"], label="label", split="train")
    assert [(one.uid, one.fields["text"], one.label) for one in examples] == [
        ("train-0", "a fine film", "pos"),
        ("train-1", 'quoted, "twice"\nover two lines', "1"),
    ]


def test_a_uid_column_is_used(tmp_path: Path) -> None:
    """Guards results that people join with their own tables."""
    path = write(tmp_path / "rows.jsonl", [{"text": "x", "id": 7}])
    assert load_examples(path, inputs=["text"], label=None, split="q", uid="id")[0].uid == "7"


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("missing.jsonl", None, DataFileError, "there is no file"),
        ("rows.txt", "x", DataFileError, ".jsonl, .csv, .parquet"),
        ("empty.jsonl", "", DataFileError, "no rows"),
        ("header.csv", "text,label\n", DataFileError, "no rows"),
        ("deep.jsonl", '{"text": ' + "[" * 200_000, DataFileError, "nested too deeply"),
        ("half.jsonl", '{"text": "a\\ud83d", "label": "b"}\n', InvalidExampleError, "half a character"),
        ("broken.jsonl", '{"text": "a", "label": "b"}\n{"text": ', DataFileError, "line 2 is not JSON"),
        ("list.jsonl", "[1, 2]\n", DataFileError, "line 1 is a list"),
        ("cells.csv", "text,label\na,b,c\n", DataFileError, "more cells"),
        ("few.csv", "text,label\na\n", DataFileError, "fewer cells"),
        ("column.jsonl", '{"body": "a", "label": "b"}\n', InvalidExampleError, "lacks ['text']"),
        ("null.jsonl", '{"text": null, "label": "b"}\n', InvalidExampleError, "holds None"),
        ("nan.jsonl", '{"text": NaN, "label": "b"}\n', InvalidExampleError, "holds nan"),
        ("nested.jsonl", '{"text": ["a"], "label": "b"}\n', InvalidExampleError, "holds ['a']"),
        ("blank.csv", "text,label\na, \n", InvalidExampleError, "column 'label', is empty"),
        ("quote.csv", 'text,label\n"a" b,c\n', DataFileError, "is not CSV"),
        ("digits.jsonl", '{"text": ' + "1" * 5000 + "}\n", DataFileError, "line 1 is not JSON"),
        ("bytes.csv", b"text,label\n\xff\xfe,b\n", DataFileError, "UTF-8"),
        ("bytes.parquet", b"not parquet at all", DataFileError, "Parquet"),
    ],
)
def test_every_mistake_in_a_file_is_named(
    tmp_path: Path, name: str, content: str | bytes | None, error: type[Exception], message: str
) -> None:
    """Guards against tracebacks from csv, json and pyarrow, and against rows that vanish silently."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error) as caught:
        load_examples(path, inputs=["text"], label="label", split="train")
    assert message in str(caught.value)
    assert "expected" in str(caught.value)


def test_hub_rows_get_class_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards class numbers of hub data sets, which mean nothing to a language model; the hub itself is out of reach."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    asked = []

    def load_dataset(name: str, configuration: str | None, *, split: str) -> Any:
        asked.append((name, configuration, split))
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    examples = load_hub_examples("org/set:part", hub_split="train", inputs=["text"], label="label", split="train")
    assert asked == [("org/set", "part", "train")]
    assert [one.label for one in examples] == ["yes", "no"]
    hidden = datasets.Dataset.from_dict({"text": ["a"], "label": [-1]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: hidden)
    with pytest.raises(InvalidExampleError, match=r"row 0 has no label \(-1\)"):  # it was taken for the last class
        load_hub_examples("org/set", hub_split="test", inputs=["text"], label="label", split="test")


def test_labels_have_no_space_around_them_and_places_may_be_texts(tmp_path: Path) -> None:
    """Guards classes that differ by a space alone, choices named by place in CSV, and cells longer than csv's limit."""
    path = tmp_path / "rows.csv"
    path.write_text(f"text,label,one,two\n{'long ' * 40_000},1 ,pos ,neg\n", encoding="utf-8")
    (plain,) = load_examples(path, inputs=["text"], label="one", split="train")
    assert plain.label == "pos"
    (chosen,) = load_examples(path, inputs=["text"], label="label", split="train", choices=["one", "two"])
    assert chosen.label == "neg"


def test_a_hub_out_of_reach_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a long traceback of connection errors."""
    import datasets

    def load_dataset(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route\nmore lines")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataFileError, match="no route"):
        load_hub_examples("org/set", hub_split="train", inputs=["text"], label=None, split="train")


def test_loading_files_does_not_import_the_hub_library() -> None:
    """Guards the start-up time of every command."""
    assert isinstance(sys.modules["selector.data.loading"], types.ModuleType)
    assert not hasattr(sys.modules["selector.data.loading"], "datasets")
