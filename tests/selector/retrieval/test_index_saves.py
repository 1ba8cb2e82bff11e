"""Tests of saves: no two are read as one, a failed one leaves the index as it was, and every failure has a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selector.errors import ArtifactError, DataFileError, DiskFullError
from selector.retrieval.index import INDEX_FILE, KINDS, STATE_FILE, VectorIndex, saved_together
from selector.retrieval.text_index import CARD_FILE, DIGESTS_FILE, TextIndex
from selector.testing import ToyEncoder

TEXTS = [f"text {number} of all" for number in range(60)]
FILES = (INDEX_FILE, STATE_FILE, DIGESTS_FILE, CARD_FILE)


def found(index: TextIndex, texts: list[str]) -> list[int]:
    """For each text the position that is nearest to it."""
    return [int(position) for position in index.search(ToyEncoder().encode(texts), 1)[1].ravel()]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("other", [TEXTS[::-1], TEXTS[:50:-1], [*TEXTS[::-1], "one more"]])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mapped_index_grows_from_the_rows_that_it_mapped(kind: str, other: list[str], tmp_path: Path) -> None:
    """Guards a service on an index that somebody builds anew beside it: it took the rows of the other one."""
    TextIndex(ToyEncoder(), TEXTS, kind=kind).save(tmp_path)
    index = TextIndex.load(tmp_path, ToyEncoder(), TEXTS)
    TextIndex(ToyEncoder(), other, kind=kind).save(tmp_path)
    longer = [*TEXTS, "something else"]
    assert index.update(longer) == 1
    assert found(index, longer) == list(range(61))
    assert index.kind == kind
    assert found(TextIndex.load(tmp_path, ToyEncoder(), other), other) == list(range(len(other)))


@pytest.mark.parametrize("kept", FILES)
def test_a_file_of_another_save_is_refused(kept: str, tmp_path: Path) -> None:
    """Guards against a save that was cut where both saves have as many rows: the search died, or found other texts."""
    index = TextIndex(ToyEncoder(), TEXTS)
    index.save(tmp_path)
    before = (tmp_path / kept).read_bytes()
    index.update([*TEXTS[1:], "in its place"])
    index.save(tmp_path)
    TextIndex.load(tmp_path, ToyEncoder(), TEXTS)
    (tmp_path / kept).write_bytes(before)
    with pytest.raises(ArtifactError, match=r"Build it again: shotsmith index --rebuild"):
        TextIndex.load(tmp_path, ToyEncoder(), TEXTS)


@pytest.mark.parametrize("moves", range(4))
def test_a_save_that_is_cut_is_noticed_wherever_it_is_cut(
    moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the order of the moves: what was cut before the first is the old index, what was cut later none."""
    TextIndex(ToyEncoder(), TEXTS).save(tmp_path)
    left, replace = iter(range(moves)), Path.replace

    def cut(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            TextIndex(ToyEncoder(), TEXTS[::-1]).save(tmp_path)
    assert names(tmp_path) == set(FILES)
    if moves:
        with pytest.raises(ArtifactError, match="Build it again"):
            TextIndex.load(tmp_path, ToyEncoder(), TEXTS)
    else:
        assert found(TextIndex.load(tmp_path, ToyEncoder(), TEXTS), TEXTS) == list(range(60))


def test_what_a_killed_save_left_is_cleared_away(tmp_path: Path) -> None:
    """Guards the disk against half files as large as the index, one for every kill."""
    (tmp_path / ".saving-killed").mkdir()
    (tmp_path / ".saving-killed" / INDEX_FILE).write_bytes(b"half")
    TextIndex(ToyEncoder(), TEXTS).save(tmp_path)
    assert names(tmp_path) == set(FILES)


def test_an_index_is_saved_over_the_file_that_it_maps(tmp_path: Path) -> None:
    """Guards `shotsmith index` on an index that is there, whose rows lie in the file that is replaced."""
    TextIndex(ToyEncoder(), TEXTS).save(tmp_path)
    for _ in range(2):
        index = TextIndex.load(tmp_path, ToyEncoder(), TEXTS)
        index.save(tmp_path)
        assert found(index, TEXTS) == list(range(60))


def full_faiss(*_: object) -> None:
    raise RuntimeError("Error in write_index: write error in index.faiss: 983 != 3000 (No space left on device)")


def full_safetensors(*_: object, **__: object) -> None:
    from safetensors import SafetensorError

    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("place", "failing"),
    [("faiss.write_index", full_faiss), ("selector.retrieval.text_index.save_file", full_safetensors)],
)
def test_a_full_disk_is_named_and_leaves_the_index_as_it_was(
    place: str, failing: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a traceback, for neither library raises an OSError, and against the loss of the former index."""
    TextIndex(ToyEncoder(), TEXTS).save(tmp_path)
    monkeypatch.setattr(place, failing)
    with pytest.raises(DiskFullError):
        TextIndex(ToyEncoder(), TEXTS[::-1]).save(tmp_path)
    monkeypatch.undo()
    assert names(tmp_path) == set(FILES)
    assert found(TextIndex.load(tmp_path, ToyEncoder(), TEXTS), TEXTS) == list(range(60))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device without room")
def test_a_disk_that_is_full_at_the_last_byte_is_noticed(tmp_path: Path) -> None:
    """Guards small indexes, which FAISS writes when it closes the file, where it raises nothing."""
    index = VectorIndex(ToyEncoder().encode(TEXTS[:2]))

    def save() -> None:
        with saved_together(tmp_path, (INDEX_FILE, STATE_FILE)) as (scratch, save_id):
            (scratch / INDEX_FILE).symlink_to("/dev/full")
            index.write(scratch, save_id)

    with pytest.raises(DiskFullError):
        save()
    assert not names(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_path_that_is_taken_is_named(name: str, tmp_path: Path) -> None:
    """Guards against a traceback where a folder stands in a file's place."""
    (tmp_path / name).mkdir()
    with pytest.raises(DataFileError, match="Is a directory") as caught:
        TextIndex(ToyEncoder(), TEXTS).save(tmp_path)
    assert str(tmp_path) in caught.value.found


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    """Guards against a traceback where a file stands in the folder's place."""
    (tmp_path / "index").write_text("notes")
    for index in (VectorIndex(ToyEncoder().encode(TEXTS)), TextIndex(ToyEncoder(), TEXTS)):
        with pytest.raises(DataFileError, match="cannot be written"):
            index.save(tmp_path / "index")
    assert (tmp_path / "index").read_text() == "notes"


def older(folder: Path) -> None:
    """Makes a save look like one of the first version, which had no ids."""
    (folder / STATE_FILE).write_text(json.dumps({"version": 1, "kind": "exact", "removed": []}))
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps({"encoder": card["encoder"]}))
    content = (folder / DIGESTS_FILE).read_bytes()
    from safetensors.numpy import load, save

    (folder / DIGESTS_FILE).write_bytes(save(load(content)))


def test_an_index_of_an_older_version_says_so(tmp_path: Path) -> None:
    """Guards the message for a sound index of the former layout, which is not damaged."""
    TextIndex(ToyEncoder(), TEXTS).save(tmp_path)
    older(tmp_path)
    with pytest.raises(ArtifactError, match=r"version 1\); expected version 2\. Build it again"):
        TextIndex.load(tmp_path, ToyEncoder(), TEXTS)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without(key: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content: dict[str, Any] = json.loads(path.read_text())
        del content[key]
        path.write_text(json.dumps(content))

    return change


@pytest.mark.parametrize("memory_map", [True, False])
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, cut_short) for name in FILES),
        *((name, Path.unlink) for name in FILES),
        (INDEX_FILE, lambda path: path.write_bytes(b"")),
        (STATE_FILE, without("save")),
        (CARD_FILE, without("save")),
        (CARD_FILE, without("encoder")),
    ],
)
def test_a_damaged_file_is_named(name: str, damage: Callable[[Path], None], memory_map: bool, tmp_path: Path) -> None:
    """Guards against a traceback, or a search in half of the rows, for every file of an index."""
    TextIndex(ToyEncoder(), TEXTS).save(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(ArtifactError, match="Build it again"):
        TextIndex.load(tmp_path, ToyEncoder(), TEXTS, memory_map=memory_map)
