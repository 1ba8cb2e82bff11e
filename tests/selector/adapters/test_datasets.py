"""Tests of the map function with `datasets`: content, and hashes that hold across processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from datasets.fingerprint import Hasher

from selector.adapters.datasets import DemonstrationMap, _loaded
from selector.data.task import Task
from selector.errors import ArtifactMismatchError, InvalidExampleError, UsageError
from selector.strategies.exported import load_policy
from selector.testing import planted_examples

ROOT = Path(__file__).resolve().parents[3]
QUERIES = planted_examples(6, seed=3, prefix="query")
PROGRAM = """
import sys
import datasets
from datasets.fingerprint import Hasher
from selector.adapters.datasets import DemonstrationMap
made = DemonstrationMap(sys.argv[1], sys.argv[2], k=2)
rows = datasets.Dataset.load_from_disk(sys.argv[3])
forked = rows.map(made, batched=True, num_proc=2, cache_file_name=sys.argv[4]) if len(sys.argv) > 4 else None
mapped = rows.map(made, batched=True)
assert forked is None or forked["prompt"] == mapped["prompt"]
print(Hasher.hash(made), mapped._fingerprint, mapped.cache_files[0]["filename"].rpartition("/")[2])
"""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


def rows() -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"text": [query.fields["text"] for query in QUERIES], "number": list(range(len(QUERIES)))}
    )


def test_rows_get_the_prompt_of_the_policy(planted_policy: Path, planted_task: Path) -> None:
    """Guards content: demonstrations by uid in prompt order, the prompt as the template writes it, columns kept."""
    task = Task.load(planted_task)
    mapped = rows().map(DemonstrationMap(planted_policy, planted_task, k=2), batched=True, batch_size=4)
    selections = load_policy(planted_policy, task.pool).select(QUERIES, 2)
    for row, query, chosen in zip(mapped, QUERIES, selections, strict=True):
        shown = [task.pool[index] for index in chosen.indices]
        assert row["demonstrations"] == [example.uid for example in shown]
        assert row["prompt"] == task.template.prompt(shown, query)
    assert mapped.column_names == ["text", "number", "demonstrations", "prompt"]


def test_another_process_finds_the_cached_result(planted_policy: Path, planted_task: Path, tmp_path: Path) -> None:
    """Guards caching: the hash of the function and the file of the result are the same in two processes.

    The first also maps with two workers. It is a fresh process because forking one that has run threads may hang.
    """
    rows().save_to_disk(tmp_path / "rows")
    found = []
    for seed in ("1", "2"):  # of Python's own hash, which differs from process to process
        done = subprocess.run(
            [
                *(sys.executable, "-c", PROGRAM, planted_policy, planted_task, tmp_path / "rows"),
                *([tmp_path / "forked.arrow"] if seed == "1" else []),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")},
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    assert found[0] == found[1]
    written = list((tmp_path / "rows").glob("cache-*.arrow"))
    assert [path.name for path in written] == [found[0][2]], "the second process computed its own result"


def test_the_hash_follows_what_decides(planted_policy: Path, planted_task: Path, tmp_path: Path) -> None:
    """Guards against stale results after training again, and with another k."""
    folder = tmp_path / "policy"
    shutil.copytree(planted_policy, folder)
    first = DemonstrationMap(folder, planted_task, k=2)
    hashed = Hasher.hash(first)
    first({"text": ["the plot is dull"]})
    assert Hasher.hash(first) == hashed, "using it changed its hash"
    assert Hasher.hash(DemonstrationMap(folder, planted_task, k=3)) != hashed
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"shortlist_size": 5}))
    assert Hasher.hash(DemonstrationMap(folder, planted_task, k=2)) != hashed
    with pytest.raises(ArtifactMismatchError, match="map them again"):
        _loaded(str(folder), str(planted_task), 2, False, first.fingerprint)


def test_prompts_show_the_choices_of_their_row(retriever: Path, choice_task: Path) -> None:
    """Guards multiple-choice tasks, which were refused although every row has its choices."""
    options = [["good", "bad"], ["up", "down", "left"], *[["fresh", "rotten"]] * 4]
    mapped = rows().add_column("options", options).map(DemonstrationMap(retriever, choice_task, k=2), batched=True)
    for row, texts in zip(mapped, options, strict=True):
        shown = " ".join(f"({letter}) {text}" for letter, text in zip("ABC", texts, strict=False))
        assert row["prompt"].endswith(f"{row['text']}\n{shown}\nAnswer:")
        assert row["prompt"].count("(B) rotten") >= 2
    with pytest.raises(InvalidExampleError, match="choices"):
        DemonstrationMap(retriever, choice_task, k=2)({"text": ["x"]})


def test_mistakes_are_named(planted_policy: Path, planted_task: Path) -> None:
    """Guards `map` without `batched=True`, where a text would be taken for a batch of letters, and a number for one."""
    made = DemonstrationMap(planted_policy, planted_task, k=2)
    for single in ({"text": 3}, {"text": None}):
        with pytest.raises(UsageError, match="batched=True"):
            made(single)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="batched=True"):
        rows().map(made, load_from_cache_file=False)
    with pytest.raises(InvalidExampleError, match="lacks"):
        made({"review": ["x"]})
