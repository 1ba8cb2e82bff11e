"""Tests of options that commands share: what they hand on to the workspace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from policies.cli import app
from policies.cli.options import queries_from
from selector.data.task import Task
from selector.errors import InvalidExampleError, UsageError
from selector.progress import SILENT, RichProgress
from selector.workspace import Workspace

COMMANDS = [
    ("mine", "--out", "out"),
    ("train-policy", "--out", "out"),
    ("compare", "--out", "out"),
    ("predict", "--method", "nearest", "--text", "text=fine"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_cluster_shows_its_progress_unless_quiet(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards long runs with --engine ray against silence, and --quiet against a bar."""
    given: list[dict[str, Any]] = []

    def refuse(task: str, **options: Any) -> Workspace:
        given.append(options)
        raise UsageError("enough", expected="nothing", remedy="None.")

    monkeypatch.setattr(Workspace, "open", refuse)
    for more in ((), ("--quiet",)):
        CliRunner().invoke(app, [*command, "--task", "rotten-tomatoes", "--engine", "ray", *more])
    assert [options["engine"] for options in given] == ["ray", "ray"]
    loud, quiet = (options["progress"] for options in given)
    assert isinstance(loud, RichProgress)
    assert quiet is SILENT


def test_several_orderers_are_tried_with_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the crossing: references once, what names its own orderer as it is, and a misspelt one before any work."""
    plans: list[Any] = []

    def refuse(workspace: object, out: object, *, plan: Any, **_: object) -> None:
        plans.append(plan)
        raise UsageError("enough", expected="nothing", remedy="None.")

    monkeypatch.setattr("policies.comparison.compare_methods", refuse)
    common = ("compare", "--task", "rotten-tomatoes", "--out", "out", "--methods", "random,nearest+mdl,majority")
    CliRunner().invoke(app, [*common, "--orderer", "given,reverse"])
    CliRunner().invoke(app, [*common, "--orderer", " reverse,"])
    assert [(plan.methods, plan.orderer) for plan in plans] == [
        (("random", "random+reverse", "nearest+mdl", "majority"), "given"),
        (("random", "nearest+mdl", "majority"), "reverse"),
    ]
    refused = CliRunner().invoke(app, [*common, "--orderer", "given,revers"])
    assert (refused.exit_code, len(plans)) == (2, 2)
    assert "unknown orderer 'revers'" in refused.stderr


def test_queries_are_read_as_the_pool_is(tmp_path: Path) -> None:
    """Guards leave-one-out and embeddings where a template shows fewer fields than examples have."""
    rows = [{"title": f"film {at}", "body": f"about {at}", "label": "ab"[at % 2]} for at in range(12)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "task.toml").write_text(
        '[data]\ntrain = "train.jsonl"\ntest_size = 2\ndev_size = 2\nreward_size = 2\n[fields]\n'
        'inputs = ["title", "body"]\nlabel = "label"\n[prompt]\ntemplate = "{title}{label}"\n',
        encoding="utf-8-sig",  # as some editors write it
    )
    task = Task.load(tmp_path / "task.toml")
    member = task.pool[0].fields
    (asked,) = queries_from(task, [f"body={member['body']}", f"title={member['title']}"], None)
    assert list(asked.fields.items()) == list(member.items())
    assert task.pool.duplicates_of(asked) == {0}
    (tmp_path / "queries.jsonl").write_text(json.dumps({**member, "more": "x"}))
    assert task.pool.duplicates_of(queries_from(task, None, tmp_path / "queries.jsonl")[0]) == {0}
    for texts in (["title=a"], ["title=a", "body=b", "junk=c"]):
        with pytest.raises(InvalidExampleError, match="--text gives the fields"):
            queries_from(task, texts, None)
