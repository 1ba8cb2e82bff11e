"""Tests of `shotsmith index`: it embeds what is new and nothing else, and every failure is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from policies.cli import app
from selector.data.task import Task
from selector.retrieval import index as indexes
from selector.retrieval.encoder import SentenceEncoder
from selector.strategies.retriever import RetrieverCard, RetrieverSelector, write_retriever_card

FILES = {"index.faiss", "index.json", "texts.safetensors", "texts.json"}


@pytest.fixture
def retriever(tiny_encoder: Path, tmp_path: Path) -> Path:
    """The folder of a retriever that was never trained."""
    folder = shutil.copytree(tiny_encoder, tmp_path / "epr")
    write_retriever_card(folder, RetrieverCard(str(tiny_encoder), "pool", "template", "lm"))
    return folder


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are asked of the encoder."""
    asked: list[str] = []
    encode = SentenceEncoder.encode

    def counting(self: SentenceEncoder, texts: Sequence[str]) -> Any:
        asked.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(SentenceEncoder, "encode", counting)
    return asked


def index(task: Path, retriever: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["index", "--task", str(task), "--retriever", str(retriever), *options])


def check_refused(result: Result, code: int, line: str) -> None:
    assert result.exit_code == code, result.output
    assert line in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.count("\n") == 1


def test_the_pool_is_embedded_once(planted_task: Path, retriever: Path, embedded: list[str]) -> None:
    """Guards the command, and its second run on an unchanged pool against embedding it again."""
    size = len(Task.load(planted_task).pool)
    shown = index(planted_task, retriever, "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout) == {"folder": str(retriever), "demonstrations": size, "kind": "exact"}
    assert len(embedded) == size
    assert {path.name for path in (retriever / "index").iterdir()} == FILES
    embedded.clear()
    again = index(planted_task, retriever)
    assert (again.exit_code, again.stdout) == (0, f"{retriever}: {size} demonstrations, exact index\n")
    selector = RetrieverSelector.load(retriever, Task.load(planted_task).pool)
    assert len(selector.index) == size
    assert not embedded


def test_an_index_follows_its_pool_past_a_limit(
    planted_task: Path, retriever: Path, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a pool that has outgrown its index against the former kind, and against being embedded again."""
    size = len(Task.load(planted_task).pool)
    assert index(planted_task, retriever).exit_code == 0
    embedded.clear()
    monkeypatch.setattr(indexes, "EXACT_UP_TO", size - 1)
    for _ in range(2):
        assert json.loads(index(planted_task, retriever, "--json").stdout)["kind"] == "hnsw"
    assert not embedded


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_index_is_replaced_where_that_is_asked_for(name: str, planted_task: Path, retriever: Path) -> None:
    """Guards the way out that the message about a damaged index names."""
    assert index(planted_task, retriever).exit_code == 0
    (retriever / "index" / name).write_bytes(b"damaged")
    check_refused(index(planted_task, retriever), 1, "Build it again: shotsmith index --rebuild.")
    assert index(planted_task, retriever, "--rebuild").exit_code == 0
    assert index(planted_task, retriever).exit_code == 0


@pytest.mark.parametrize("option", [(), ("--rebuild",)])
def test_a_full_disk_is_one_line(
    option: tuple[str, ...], planted_task: Path, retriever: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a traceback out of FAISS, and against the loss of the index that was there."""
    assert index(planted_task, retriever).exit_code == 0

    def full(*_: object) -> None:
        raise RuntimeError("write error in index.faiss: 983 != 3000 (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr("faiss.write_index", full)
        check_refused(index(planted_task, retriever, *option), 1, "no space left on the device")
    assert {path.name for path in (retriever / "index").iterdir()} == FILES
    assert index(planted_task, retriever).exit_code == 0


def test_a_place_that_is_taken_is_one_line(planted_task: Path, retriever: Path) -> None:
    """Guards against a traceback where the index, or a file of it, cannot be written."""
    (retriever / "index").write_text("notes")
    check_refused(index(planted_task, retriever), 2, "cannot be written")
    (retriever / "index").unlink()
    (retriever / "index" / "index.faiss").mkdir(parents=True)
    check_refused(index(planted_task, retriever, "--rebuild"), 2, "cannot be written")


def test_inspect_shows_a_retriever(retriever: Path) -> None:
    """Guards against a command that knows policies alone; a damaged card is a failure as a damaged manifest is."""
    shown = CliRunner().invoke(app, ["inspect", str(retriever), "--json"])
    assert shown.exit_code == 0, shown.output
    card = json.loads(shown.stdout)
    assert (card["kind"], card["demonstration_form"]) == ("retriever", "labelled")
    assert "base encoder" in CliRunner().invoke(app, ["inspect", str(retriever)]).stdout
    (retriever / "shotsmith.json").write_text("{")
    check_refused(CliRunner().invoke(app, ["inspect", str(retriever)]), 1, "retriever card")
