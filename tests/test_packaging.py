"""Tests of what is handed out: the source distribution, the wheel, and the recipe of the image."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from selector.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("selector", "envs", "policies")


def run(*command: object, cwd: Path, **variables: str) -> str:
    environment = os.environ | {"PYTHONPATH": ""} | variables
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("build", "hatchling")), reason="build or hatchling is missing"
)
def test_the_wheel_installs_and_runs_outside_the_checkout(tmp_path: Path) -> None:
    """Guards against a file that the wheel lacks, and against a wheel that leans on the checkout.

    Builds source distribution and wheel without a download, installs the wheel into an empty environment that sees only
    the dependencies of this one, and runs the command there.
    """
    # The editable installation is among the dependencies' folders; the wheel, found first, has to win over it.
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, ROOT)
    run(*build, cwd=tmp_path, PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    [wheel], [source] = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    assert __version__ in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == set(PACKAGES)
    there = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert names >= there
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held >= {"mkdocs.yml", "Dockerfile", "Makefile", "docs/index.md", "constraints.txt", "tests/conftest.py"}

    venv.create(tmp_path / "empty", with_pip=False)
    binaries = tmp_path / "empty" / "bin"
    [site] = (tmp_path / "empty").glob("lib/*/site-packages")
    run(sys.executable, "-m", "pip", "--python", binaries / "python", "install", "--no-deps", wheel, cwd=tmp_path)
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(dependencies) + "\n", encoding="utf-8")
    assert run(binaries / "shotsmith", "--version", cwd=tmp_path).strip() == __version__
    where = "import selector, envs, policies; print(selector.__file__, envs.__file__, policies.__file__)"
    found = run(binaries / "python", "-c", where, cwd=tmp_path).split()
    assert all(Path(file).is_relative_to(site) for file in found)
    cache = str(tmp_path / "cache")
    checks = json.loads(run(binaries / "shotsmith", "doctor", "--json", cwd=tmp_path, SHOTSMITH_CACHE=cache))
    assert checks
    assert all(check["ok"] for check in checks)


def test_the_image_is_made_of_files_that_are_there() -> None:
    """Guards the recipe of the image, which nothing builds here, against files that moved."""
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [line.split()[1:-1] for line in recipe.splitlines() if line.startswith("COPY ")]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists()
        assert f"!{name.partition('/')[0]}" in allowed
    instructions = recipe.splitlines()
    assert instructions.index("USER shotsmith") < next(n for n, line in enumerate(instructions) if "ENTRYPOINT" in line)
    assert "/healthz" in recipe
    assert "--host" not in "".join(line for line in instructions if not line.startswith("#"))
