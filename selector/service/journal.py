"""Edits of a pool that outlive the service: one JSON line for each, on disk before the edit counts.

The first line names the pool that was edited. A last line that a kill has cut is taken away when the file is opened; a
damaged line anywhere else is an error. One process at a time may hold a journal.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from selector.data.paths import full_disk_named
from selector.data.pool import Pool
from selector.errors import DataFileError, ShotsmithError, UnknownExampleError, UsageError
from selector.types import Example

KIND: Final = "shotsmith-pool-edits"
VERSION: Final = 1

Edit = Example | str
"""An example that was added, or the uid of one that was removed."""


def added(pool: Pool, example: Example) -> Pool:
    """Adds a member.

    Args:
        pool: The pool.
        example: A labelled example of another uid than all members.

    Returns:
        The larger pool, the new member last.

    Raises:
        InvalidExampleError: When the uid is taken or there is no label.
    """
    return pool.remade((*pool, example))


def removed(pool: Pool, uid: str) -> Pool:
    """Takes a member away; the others keep their order.

    Args:
        pool: The pool.
        uid: Of the member.

    Returns:
        The smaller pool.

    Raises:
        UnknownExampleError: When there is no such member.
        EmptyPoolError: When it was the last one.
    """
    left = [example for example in pool if example.uid != uid]
    if len(left) == len(pool):
        raise UnknownExampleError(uid)
    return pool.remade(left)


def edited(pool: Pool, edits: Sequence[Edit]) -> Pool:
    """Makes many edits at once.

    Args:
        pool: The pool.
        edits: In the order in which they were made.

    Returns:
        The pool after all of them.

    Raises:
        UnknownExampleError: When one removes what is not there.
        InvalidExampleError: When one adds a uid that is there.
        EmptyPoolError: When nothing is left.
    """
    members = {example.uid: example for example in pool}
    for edit in edits:
        if isinstance(edit, str):
            if members.pop(edit, None) is None:
                raise UnknownExampleError(edit)
        elif edit.uid in members:
            return added(Pool(members.values()), edit)  # which refuses it
        else:
            members[edit.uid] = edit
    return pool.remade(members.values()) if edits else pool


class EditJournal:
    """The journal of one pool; `close` it, or use it in a with statement.

    Args:
        path: The file; made when missing, readable by its owner alone.
        pool: The pool before all edits.

    Attributes:
        edits: What the file held when it was opened.

    Raises:
        DataFileError: When the file is damaged, is no journal or belongs to another pool.
        UsageError: When another process holds it.
        DiskFullError: When there is no room.
    """

    def __init__(self, path: Path, pool: Pool) -> None:
        self._path = path
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock()
            self.edits = self._read(pool)
            for own in made:
                _keep_name(own)
        except ShotsmithError:
            self.close()
            raise

    def __enter__(self) -> EditJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets other processes have the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def write(self, edit: Edit) -> None:
        """Keeps an edit; it is on the disk when this returns.

        Args:
            edit: The edit.

        Raises:
            DiskFullError: When there is no room; the file is as it was.
        """
        self._append({"remove": edit} if isinstance(edit, str) else {"add": _as_json(edit)})

    def _append(self, entry: dict[str, Any]) -> None:
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
        end = os.lseek(self._file, 0, os.SEEK_END)
        with full_disk_named(self._path):
            try:
                while line:
                    line = line[os.write(self._file, line) :]
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, end)  # half a line would spoil the next
                raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"the file of edits {self._path} is in use by another service",
                expected="a file for each service",
                remedy="Stop the other service or choose another file.",
            ) from error

    def _read(self, pool: Pool) -> tuple[Edit, ...]:
        with os.fdopen(os.dup(self._file), "rb") as file:
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if not whole and content and not _head(pool).startswith(content):
            raise self._damaged(1)  # somebody's file without a line's end: it is not ours to cut
        os.ftruncate(self._file, len(whole))
        if not whole:
            self._append(json.loads(_head(pool)))
            return ()
        lines = whole.splitlines()
        try:
            head = json.loads(lines[0])
            kind, version, fingerprint = head["journal"], head["version"], head["pool"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(1) from error
        if (kind, version) != (KIND, VERSION):
            raise self._damaged(1)
        if fingerprint != pool.fingerprint:
            raise DataFileError(
                f"the edits in {self._path} were made to a pool with fingerprint {str(fingerprint)[:12]}",
                expected=f"edits of the task's pool, {pool.fingerprint[:12]}",
                remedy="Use the task and data that they were made for, or choose another file.",
            )
        return tuple(self._edit(line, number) for number, line in enumerate(lines[1:], start=2))

    def _edit(self, line: bytes, number: int) -> Edit:
        try:
            entry = json.loads(line)
            if "remove" in entry:
                return str(entry["remove"])
            own = entry["add"]
            return Example(str(own["uid"]), own["fields"], str(own["label"]), tuple(own["choices"]))
        except (ValueError, KeyError, TypeError, AttributeError, ShotsmithError) as error:
            raise self._damaged(number) from error

    def _damaged(self, number: int) -> DataFileError:
        return DataFileError(
            f"line {number} of the edits {self._path} cannot be read",
            expected="a file written by `shotsmith serve`",
            remedy="Restore the file from a copy, or choose another one.",
        )


def _keep_name(path: Path) -> None:
    """A file that is on the disk is lost with its name, which stands in its folder."""
    with suppress(OSError):  # there are folders that may be written to and not read, and file systems that cannot
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _head(pool: Pool) -> bytes:
    return (json.dumps({"journal": KIND, "version": VERSION, "pool": pool.fingerprint}) + "\n").encode()


def _as_json(example: Example) -> dict[str, Any]:
    return {
        "uid": example.uid,
        "fields": dict(example.fields),
        "label": example.label,
        "choices": list(example.choices),
    }
