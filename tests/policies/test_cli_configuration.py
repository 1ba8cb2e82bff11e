"""Tests of the command line's configuration file, of shell completion, and of what all commands have in common."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from policies.cli import app, configuration
from policies.cli.configuration import command_names, options_of, read_configuration, settings_used
from selector.errors import ConfigurationError
from selector.testing import ToyLanguageModel, planted_examples
from selector.workspace import Workspace

WITHOUT_END = {"serve"}  # has nothing to print that a program could wait for
ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, and no folder of data sets in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHOTSMITH_DATA", raising=False)
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path


def write_data(path: Path) -> None:
    rows = [json.dumps({**one.fields, "label": one.label}) for one in planted_examples(40)]
    path.write_text("\n".join(rows), encoding="utf-8")


def in_force(*arguments: str) -> dict[tuple[str, str], tuple[object, str]]:
    settings = json.loads(run("config", *arguments, "--json").stdout)["settings"]
    return {(row["command"], row["setting"]): (row["value"], row["from"]) for row in settings}


def test_a_file_gives_defaults_and_the_command_line_wins(folder: Path) -> None:
    """Guards the order: command line, table of the command, whole file."""
    write_data(folder / "rows.jsonl")
    (folder / "shotsmith.toml").write_text(
        'label = "absent"\n[init]\nlabel = "label"\nout = "mine.toml"\njson = true\n'
    )
    made = json.loads(run("init", "rows.jsonl").stdout)
    assert made["task"] == "mine.toml"
    assert json.loads(run("init", "rows.jsonl", "--out", "other.toml").stdout)["task"] == "other.toml"
    assert run("init", "rows.jsonl", "--out", "third.toml", "--label", "mood").exit_code == 2


def test_a_required_option_may_come_from_the_file(folder: Path) -> None:
    """Guards --task, which nobody wants to type every time."""
    assert "Missing option" in run("predict", "--method", "random").stderr
    (folder / "pyproject.toml").write_text('[tool.other]\nx = 1\n[tool.shotsmith]\ntask = "absent.toml"\n')
    assert "no task file 'absent.toml'" in run("predict", "--method", "random", "--text", "text=a").stderr


def test_what_is_typed_wins_over_a_configured_alternative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the order where two options exclude each other: both were taken for given."""
    monkeypatch.setattr("selector.workspace.load_language_model", lambda *_, **__: ToyLanguageModel())
    monkeypatch.setattr(Workspace, "encoder", None)
    write_data(folder / "rows.jsonl")
    assert run("init", "rows.jsonl").exit_code == 0
    ask = ("predict", "--task", "TASK.toml", "--quiet")
    own = folder / "shotsmith.toml"
    own.write_text('[predict]\nmethod = "bm25"\nqueries = "absent.jsonl"\n[reason]\ntask = "TASK.toml"\n')
    assert "no file absent.jsonl" in run(*ask).stderr
    assert run(*ask, "--text", "text=a").exit_code == 0
    assert "there is no policy" in run(*ask, "--text", "text=a", "--artifact", "policy").stderr
    assert "is given and so is" in run(*ask, "--artifact", "policy", "--method", "bm25").stderr
    reasoned = run("reason", "--method", "cot", "--queries", "rows.jsonl", "--data", "absent.jsonl", "--quiet")
    assert "there is no file" in reasoned.stderr
    own.write_text('[predict]\nartifact = "policy"\nbeams = 3\ntext = ["text=a"]\n[reason]\ndata = "rows.jsonl"\n')
    assert run(*ask, "--method", "random").exit_code == 0
    assert "no file absent.jsonl" in run(*ask, "--method", "random", "--queries", "absent.jsonl").stderr
    assert "--beams 3" in run(*ask, "--method", "random", "--beams", "3").stderr
    reasoned = run("reason", "--method", "cot", "--queries", "rows.jsonl", "--task", "absent.toml", "--kind", "number")
    assert "absent.toml" in reasoned.stderr
    own.write_text('[predict]\nartifact = "policy"\nmethod = "bm25"\n')
    assert "is given and so is" in run(*ask, "--text", "text=a").stderr


def test_switches_and_lists_come_from_the_file_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards true, false and lists, and the record of a command whose options stand in a file."""
    taken: list[tuple[bool, list[Path], list[str]]] = []

    @app.command("probe")
    def probe(
        context: typer.Context,
        mined: Annotated[list[Path], typer.Option("--mined", help="Some.")],
        resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Some.")] = True,
        quiet: Annotated[bool, typer.Option("--quiet", help="Some.")] = False,
        seed: Annotated[int, typer.Option("--seed", help="Some.")] = 0,
    ) -> None:
        assert quiet
        assert seed in (3, 7)
        taken.append((resume, mined, settings_used(context)))

    configuration._group.cache_clear()
    try:
        (folder / "shotsmith.toml").write_text('[probe]\nmined = ["a", "b"]\nresume = false\nquiet = true\nseed = 3\n')
        assert run("probe").exit_code == 0
        assert run("probe", "--resume", "--seed", "7").exit_code == 0
    finally:
        app.registered_commands.pop()
        configuration._group.cache_clear()
    lists = ["--mined", "a", "--mined", "b"]
    assert taken == [
        (False, [Path("a"), Path("b")], [*lists, "--no-resume", "--quiet", "--seed", "3"]),
        (True, [Path("a"), Path("b")], [*lists, "--quiet"]),
    ]


def test_config_says_what_is_in_force_and_from_where(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the answer to "why does it do that here"."""
    assert "No configuration here" in run("config").stdout
    (folder / "pyproject.toml").write_text("[tool.shotsmith]\nquiet = false\n")
    assert in_force("mine")["mine", "--quiet"] == (False, "pyproject.toml [tool.shotsmith]")
    (folder / "shotsmith.toml").write_text(
        'quiet = true\ntask = "t.toml"\ndata-dir = "sets"\n[compare]\nshots = "0,4"\n'
    )
    found = in_force()
    assert found["all", "--quiet"] == (True, "shotsmith.toml")
    assert found["compare", "--shots"] == ("0,4", "shotsmith.toml [compare]")
    assert found["all", "--data-dir"] == (str(folder / "sets"), "shotsmith.toml")
    found = in_force("compare")
    assert found["compare", "--task"] == ("t.toml", "shotsmith.toml")
    assert found["compare", "--shots"] == ("0,4", "shotsmith.toml [compare]")
    assert ("reason", "--task") not in in_force("reason")
    monkeypatch.setenv("SHOTSMITH_DATA", str(folder / "mine"))
    assert in_force()["all", "--data-dir"] == (str(folder / "mine"), "SHOTSMITH_DATA")
    shown = json.loads(run("--data-dir", "given", "config", "--json").stdout)["settings"]
    assert {"command": "all", "setting": "--data-dir", "value": str(folder / "given"), "from": "--data-dir"} in shown
    assert "shotsmith.toml" in run("config").stdout


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("tsk = 'x'", "Did you mean 'task'?"),
        ("[compar]\nshots = '4'", "Did you mean 'compare'?"),
        ("[mine]\nmethods = 'random'", "'methods', which is no option of mine"),
        ("out = 'results'", "[compare] out"),
        ("quiet = 'yes'", "true or false"),
        ("[mine]\nshots = 4", "no option of mine"),
        ("[mine]\ncandidates = [1]", "[mine] candidates is [1]"),
        ("[train-retriever]\nmined = 'mined'", "a list of texts"),
        ("task = [1]", "task is [1]"),
        ("version = true", "no option"),
        ("= 3", "is not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(folder: Path, text: str, fragment: str) -> None:
    """Guards against defaults that are misspelt and silently do nothing."""
    (folder / "shotsmith.toml").write_text(text)
    result = run("doctor")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: shotsmith.toml")
    assert fragment in result.stderr
    with pytest.raises(ConfigurationError):
        read_configuration()


def test_no_file_changes_nothing() -> None:
    """Guards projects that have nothing to do with shotsmith."""
    assert read_configuration().settings("compare") == {}
    Path("pyproject.toml").write_text("[tool]\nother = 1\n")
    assert read_configuration().source == ""


@pytest.mark.parametrize("command", command_names())
def test_every_command_explains_itself_prints_json_and_can_be_quiet(command: str) -> None:
    """Guards what the documentation says of all commands, and scripts that pass --quiet to each."""
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout
    options = options_of(command)
    assert {"json", "quiet"} <= options.keys() or command in WITHOUT_END
    assert all(parameter.help for parameter in options.values())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("typed", "found"), [("comp", "compare"), ("mine --task sst", "sst2")])
def test_shells_complete_commands_and_presets(shell: str, typed: str, found: str) -> None:
    """Guards completion as shells ask for it: in a process, by environment variables."""
    variables = {
        "_SHOTSMITH_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": f"shotsmith {typed}",
        "COMP_CWORD": str(len(typed.split())),
        "_TYPER_COMPLETE_ARGS": f"shotsmith {typed}",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-m", "policies.cli"],
        env=os.environ | variables | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found in done.stdout
    assert "Traceback" not in done.stderr


def test_starting_the_command_line_is_light() -> None:
    """Guards --help and completion against seconds of imports."""
    code = "import policies.cli, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "sentence_transformers", "faiss", "datasets"} & set(done.stdout.split())


def test_control_c_is_130_wherever_it_comes(folder: Path) -> None:
    """Guards scripts that tell an interruption from a failure, as they do for every other program."""
    code = (
        "import sys, time, typer\n"
        "from policies.cli import app, main\n"
        "@app.command('wait')\n"
        "def wait() -> None:\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
        "sys.argv = ['shotsmith', 'wait']\n"
        "main()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.startswith("error: interrupted")
