"""Tests of results."""

import csv
import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selector.data.paths import write_whole
from selector.errors import DiskFullError
from selector.evaluation.compare import Comparison
from selector.evaluation.results import results_of, shown_p, write_results
from selector.evaluation.statistics import PairedDifference

CONTEXT = {"task": "toy", "lm": "toy-induction-1", "command": "shotsmith compare"}


def test_results_have_the_promised_keys(comparison: Comparison, tmp_path: Path) -> None:
    """Guards against a key renamed under the programs that read results.json."""
    path = write_results(tmp_path / "new" / "folder", [comparison], context=CONTEXT)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(results_of([comparison], context=CONTEXT)))
    assert {"task", "lm", "rows", "summary"} <= set(content)
    assert {
        "method", "orderer", "shots", "seed", "accuracy", "n", "lm_calls", "lm_tokens", "lm_tokens_computed", "seconds",
    } <= set(content["rows"][0])  # fmt: skip
    assert len(content["rows"]) == 4
    by_name = {entry["method"]: entry for entry in content["summary"]}
    assert by_name["zero"]["vs_baseline"] is None
    assert set(by_name["random"]["vs_baseline"]) == {"delta", "ci95", "p"}
    assert content["verdict"]["sentence"]
    low, high = by_name["random"]["ci95"]
    assert low <= by_name["random"]["mean"] <= high


def test_per_query_rows_give_back_every_accuracy(comparison: Comparison, tmp_path: Path) -> None:
    """Guards against a file from which significance cannot be recomputed; uids hold commas, quotes and spaces here."""
    write_results(tmp_path, [comparison], context=CONTEXT)
    with (tmp_path / "per_query.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for run in comparison.rows:
        mine = [row for row in rows if (row["method"], row["seed"]) == (run.method, str(run.seed))]
        assert sum(int(row["correct"]) for row in mine) / len(mine) == run.accuracy
        assert [tuple(json.loads(row["demonstrations"])) for row in mine] == [
            own.demonstrations for own in run.outcomes
        ]
        assert [row["uid"] for row in mine] == [own.uid for own in run.outcomes]
        assert [json.loads(row["probabilities"]) for row in mine] == [dict(own.probabilities) for own in run.outcomes]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_keeps_what_was_there(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a half-written file over a good one, and a traceback for a full disk or quota."""
    path = write_whole(tmp_path / "report.html", "good")

    def full(self: Path, text: str, **rest: str) -> int:
        self.touch()
        raise OSError(code, "no room", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DiskFullError, match=r"report\.html"):
        write_whole(path, "new")
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_take_each_others_scratch(tmp_path: Path) -> None:
    """Guards two comparisons into one folder: the second renamed what the first was writing, and one of them failed."""
    with ThreadPoolExecutor(2) as pool:
        for number in range(100):
            list(pool.map(lambda text: write_whole(tmp_path / "cell.json", text), [f"a{number}", f"b{number}"]))
    assert (tmp_path / "cell.json").read_text() in ("a99", "b99")
    assert len(list(tmp_path.iterdir())) == 1


def test_other_trouble_is_not_called_a_full_disk(tmp_path: Path) -> None:
    """Guards against every OSError being told as a full disk."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as caught:
        write_whole(tmp_path / "file" / "results.json", "{}")
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)


def test_p_is_never_shown_as_zero() -> None:
    """Guards against "p = 0.000", which no number of resamples can show."""
    assert shown_p(PairedDifference(0.5, 0.4, 0.6, 1 / 10_001)) == "<0.001"
    assert shown_p(PairedDifference(0.1, 0.0, 0.2, 0.0451)) == "0.045"
