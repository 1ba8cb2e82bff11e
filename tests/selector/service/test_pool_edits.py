"""Tests of edits of the pool: they count at once, embed only what is new, and outlive the service."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example as example_of
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool
from selector.errors import DataFileError, UsageError
from selector.service.journal import EditJournal, added, edited, removed
from selector.service.messages import REMOVABLE
from selector.testing import planted_pool
from selector.types import Example

METHODS = ("policy", "nearest", "bm25", "mmr", "dpp", "kmeans", "random")


def example(text: str, label: str = "fresh", **rest: Any) -> dict[str, Any]:
    return {"fields": {"text": text}, "label": label, **rest}


@pytest.mark.parametrize("method", METHODS)
def test_an_edit_counts_at_once(make_service, ask, planted_policy, method: str) -> None:
    """Guards against a selector that goes on with the pool that it was made for."""
    service = make_service(planted_policy, with_lm=False)
    text = ask.query()["fields"]["text"]
    body = ask.selection(shots=6, method=method)
    (before,) = ask.uids(ask.one(service, "POST", "/select", body))
    reply = ask.one(service, "POST", "/pool/examples", example(f"{text} indeed", uid="mine"))
    assert reply.status_code == 201
    assert reply.json() == {"uid": "mine", "pool_size": 39}
    (after,) = ask.uids(ask.one(service, "POST", "/select", body))
    if method not in ("policy", "kmeans", "random"):
        assert "mine" in after
    assert ask.one(service, "DELETE", "/pool/examples/mine").json() == {"uid": "mine", "pool_size": 38}
    assert ask.uids(ask.one(service, "POST", "/select", body)) == [before]
    gone = before[-1]
    assert ask.one(service, "DELETE", f"/pool/examples/{gone}").status_code == 200
    (without,) = ask.uids(ask.one(service, "POST", "/select", body))
    assert gone not in without
    assert len(without) == 6


@pytest.mark.parametrize("method", ["policy", "nearest", "mmr"])
def test_an_edited_pool_is_chosen_from_as_a_fresh_one(
    make_service, ask, planted_policy, make_workspace, method: str
) -> None:
    """Guards against an index or network that is brought up to date wrongly: positions that shifted, rows that stay."""
    service = make_service(planted_policy, with_lm=False)
    body = ask.selection(0, 1, 2, 3, shots=4, method=method)
    ask.one(service, "POST", "/select", body)
    for number in range(5):
        ask.one(service, "POST", "/pool/examples", example(f"the plot is warm and hollow in part {number}"))
        ask.one(service, "POST", "/select", body)
        ask.one(service, "DELETE", f"/pool/examples/{service.answerer.pool[number].uid}")
    assert len({own.uid for own in service.answerer.pool}) == 38
    workspace = make_workspace()
    object.__setattr__(workspace.task, "pool", service.answerer.pool)
    fresh = make_service(planted_policy, with_lm=False, workspace=workspace, force=True)
    assert ask.uids(ask.one(service, "POST", "/select", body)) == ask.uids(ask.one(fresh, "POST", "/select", body))


@pytest.mark.parametrize("asked", ["select", "predict"])
def test_replies_tell_the_size_of_the_pool_that_was_chosen_from(make_service, ask, monkeypatch, asked: str) -> None:
    """Guards against a reply that names the size of a later pool: of an edit that came right behind its batch."""
    service = make_service()
    whole = getattr(service.answerer, asked)

    def and_edit(*given: Any) -> Any:
        answered = whole(*given)
        service.answerer.add({"text": "another"}, "fresh")
        return answered

    monkeypatch.setattr(service.answerer, asked, and_edit)
    assert ask.one(service, "POST", f"/{asked}", ask.selection()).json()["pool_size"] == 38
    assert len(service.answerer.pool) == 39


def test_an_edit_embeds_only_what_is_new(make_service, ask, planted_policy, monkeypatch) -> None:
    """Guards against a pool that is embedded again for every example that is added."""
    service = make_service(planted_policy, with_lm=False)
    requests = [("POST", "/select", ask.selection(method=method)) for method in METHODS]
    ask.at_once(service, *requests)
    embedded: list[str] = []
    encoders = {id(own.encoder): own.encoder for own in map(service.answerer.selector, ("policy", "nearest"))}
    for encoder in encoders.values():
        model = encoder._model
        monkeypatch.setattr(
            model, "encode", lambda texts, _own=model.encode, **rest: embedded.extend(texts) or _own(texts, **rest)
        )
    ask.one(service, "POST", "/pool/examples", example("an example that nobody has seen"))
    ask.one(service, "DELETE", f"/pool/examples/{service.answerer.pool[0].uid}")
    assert [reply.status_code for reply in ask.at_once(service, *requests)] == [200] * len(requests)
    assert embedded == ["an example that nobody has seen"]


@pytest.mark.parametrize(("limit", "most"), [("MOST_REMEMBERED", 50), ("MOST_CHARACTERS", 500)])
def test_queries_are_forgotten_and_the_pool_is_not(
    make_service, ask, planted_policy, monkeypatch, limit: str, most: int
) -> None:
    """Guards against a service whose memory grows with every query that was ever asked, or with a few long ones."""
    monkeypatch.setattr(f"selector.service.remembering.{limit}", most)
    service = make_service(planted_policy, with_lm=False)
    known = service.answerer.selector("policy").encoder._known
    bodies = [{"queries": [{"fields": {"text": f"asked {part} {at}"}} for at in range(40)]} for part in range(5)]
    replies = [ask.uids(ask.one(service, "POST", "/select", body)) for body in bodies]
    pool = {own.fields["text"] for own in service.answerer.pool}
    assert pool <= set(known)
    assert len([text for text in known if text.startswith("asked")]) <= 80
    assert [ask.uids(ask.one(service, "POST", "/select", body)) for body in bodies] == replies


WRONG: list[tuple[str, dict[str, Any], int]] = [
    ("a label", example("x", "unheard of"), 422),
    ("a field", {"fields": {"other": "x"}, "label": "fresh"}, 422),
    ("no label", {"fields": {"text": "x"}}, 422),
    ("a long uid", example("x", uid="x" * 201), 422),
    ("an empty uid", example("x", uid=""), 422),
    ("more", example("x", rationale="so"), 422),
]


@pytest.mark.parametrize(("body", "status"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_a_wrong_example_changes_nothing(make_service, ask, body, status: int) -> None:
    """Guards against an example in the pool that no prompt can show, which would spoil every later request."""
    service = make_service(with_lm=False)
    reply = ask.one(service, "POST", "/pool/examples", body)
    assert reply.status_code == status
    ask.error(reply)
    assert len(service.answerer.pool) == 38


def test_uids_are_kept_apart(make_service, ask) -> None:
    """Guards against two examples of one uid, also when two clients add at the same moment; and uids with a slash."""
    service = make_service(with_lm=False)
    taken = ask.one(service, "POST", "/pool/examples", example("x", uid=service.answerer.pool[0].uid))
    assert taken.status_code == 422
    assert "twice" in ask.error(taken)["found"]
    replies = ask.at_once(service, *[("POST", "/pool/examples", example(f"x {at}")) for at in range(8)])
    assert len({reply.json()["uid"] for reply in replies}) == 8
    assert len(service.answerer.pool) == 46
    assert ask.one(service, "POST", "/pool/examples", example("y", uid="a/b?c")).status_code == 201
    assert ask.one(service, "DELETE", "/pool/examples/a%2Fb%3Fc").json()["pool_size"] == 46
    again = ask.one(service, "DELETE", "/pool/examples/a%2Fb%3Fc")
    assert again.status_code == 404
    ask.error(again)


def test_whatever_is_added_can_be_removed(make_service, ask) -> None:
    """Guards against a uid that no path can name: its example would stay for ever; and a schema that promises it."""
    service = make_service("random", with_lm=False)

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(uid=st.text(min_size=1, max_size=8) | st.text("./\\%2eé \n?#:", min_size=1, max_size=5))
    @example_of(uid=".")
    @example_of(uid="..")
    @example_of(uid="x\n")
    @example_of(uid=" x")
    @example_of(uid="a/../b/")
    @example_of(uid="\u202ex")
    def check(uid: str) -> None:
        reply = ask.one(service, "POST", "/pool/examples", example("x", uid=uid))
        plain = uid.isprintable() and uid == uid.strip() and uid not in (".", "..")
        assert reply.status_code == (201 if plain else 422)
        if plain:
            assert re.search(REMOVABLE, uid)
            path = f"/pool/examples/{quote(uid, safe='')}"
            assert ask.one(service, "DELETE", path).json() == {"uid": uid, "pool_size": 38}
        else:
            ask.error(reply)

    check()


def test_the_last_example_stays(make_service, ask) -> None:
    """Guards against an empty pool, which no selector can be made for."""
    service = make_service("random", with_lm=False)
    first, *others = [own.uid for own in service.answerer.pool]
    ask.at_once(service, *[("DELETE", f"/pool/examples/{uid}") for uid in others])
    reply = ask.one(service, "DELETE", f"/pool/examples/{first}")
    assert reply.status_code == 409
    ask.error(reply)
    assert ask.uids(ask.one(service, "POST", "/select", ask.selection(shots=1))) == [[first]]


def test_the_pool_is_listed_newest_first(make_service, ask) -> None:
    """Guards against a page that shows the wrong part, and a search that misses case or labels."""
    service = make_service(with_lm=False)
    ask.one(service, "POST", "/pool/examples", example("A Singular Example", uid="new"))
    page = ask.one(service, "GET", "/pool/examples?limit=2").json()
    assert [own["uid"] for own in page["examples"]] == ["new", service.answerer.pool[37].uid]
    assert (page["pool_size"], page["matching"]) == (39, 39)
    found = ask.one(service, "GET", "/pool/examples?containing=singular").json()
    assert (found["matching"], found["examples"][0]["label"]) == (1, "fresh")
    rest = ask.one(service, "GET", "/pool/examples?offset=38&limit=200").json()["examples"]
    assert [own["uid"] for own in rest] == [service.answerer.pool[0].uid]


def test_a_restart_loses_nothing(make_service, ask, make_workspace, planted_policy, tmp_path: Path) -> None:
    """Guards against edits that end with the service, or come back in another order."""
    path, base = tmp_path / "deep" / "edits.jsonl", make_workspace().task.pool
    service = make_service(planted_policy, with_lm=False, journal=EditJournal(path, base))
    assert ask.one(service, "GET", "/about").json()["edits_kept"] is True
    for number in range(3):
        ask.one(service, "POST", "/pool/examples", example(f"número {number}\nwith lines", uid=f"n{number}"))
    for uid in ("n1", base[0].uid):
        ask.one(service, "DELETE", f"/pool/examples/{uid}")
    ask.one(service, "POST", "/pool/examples", example("back", uid=base[0].uid))
    body = ask.selection(0, 1, shots=5)
    before, pool = ask.uids(ask.one(service, "POST", "/select", body)), service.answerer.pool
    service.close()
    again = make_service(planted_policy, with_lm=False, journal=EditJournal(path, base))
    assert again.answerer.pool.fingerprint == pool.fingerprint
    assert ask.uids(ask.one(again, "POST", "/select", body)) == before
    assert path.stat().st_mode & 0o077 == 0


def test_a_new_journal_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a power cut after which the file is gone, with every edit that was confirmed."""
    kept: list[int] = []
    whole = os.fsync

    def noted(file: int) -> None:
        whole(file)
        kept.append(os.fstat(file).st_ino)

    monkeypatch.setattr("selector.service.journal.os.fsync", noted)
    path = tmp_path / "made" / "deep" / "edits"
    EditJournal(path, planted_pool(4)).close()
    assert {own.stat().st_ino for own in (path, *path.parents[:3])} <= set(kept)
    kept.clear()
    EditJournal(path, planted_pool(4)).close()
    assert kept == []


def test_every_cut_of_a_journal_loses_at_most_the_edit_that_was_being_written(tmp_path: Path) -> None:
    """Guards against a file that a kill has cut and that can neither be read nor written on."""
    pool, path = planted_pool(6), tmp_path / "edits"
    with EditJournal(path, pool) as journal:
        journal.write(Example("one", {"text": "ünö"}, "fresh"))
        journal.write(pool[2].uid)
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    near = {end + step for end in (0, *ends) for step in range(-3, 4)}
    for length in sorted({*near, *range(0, len(whole), 9)} & set(range(len(whole) + 1))):
        path.write_bytes(whole[:length])
        with EditJournal(path, pool) as journal:
            assert len(journal.edits) == max(0, sum(end <= length for end in ends) - 1)
            journal.write("later")
        with EditJournal(path, pool) as journal:
            assert journal.edits[-1] == "later"


@pytest.mark.parametrize(
    "content",
    [b"somebody's notes\n", b"notes", b"[]\n", b'{"journal": "shotsmith-pool-edits", "version": 9, "pool": ""}\n'],
)
def test_a_foreign_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """Guards against --edits on a file that is something else, which would be cut or written on."""
    path = tmp_path / "edits"
    path.write_bytes(content)
    with pytest.raises(DataFileError):
        EditJournal(path, planted_pool(4))
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"add": {"uid": "x"}}', b'{"other": 1}', b"\xff"])
def test_a_damaged_line_is_told(tmp_path: Path, line: bytes) -> None:
    """Guards against edits that are passed over in silence."""
    pool, path = planted_pool(4), tmp_path / "edits"
    with EditJournal(path, pool) as journal:
        journal.write(pool[0].uid)
    path.write_bytes(path.read_bytes() + line + b"\n" + b'{"remove": "x"}\n')
    with pytest.raises(DataFileError, match="line 3"):
        EditJournal(path, pool)


def test_a_journal_belongs_to_one_pool_and_one_process(tmp_path: Path) -> None:
    """Guards against edits that are made to other data, and two services that write into one file."""
    path = tmp_path / "edits"
    with EditJournal(path, planted_pool(4)), pytest.raises(UsageError, match="in use"):
        EditJournal(path, planted_pool(4))
    with pytest.raises(DataFileError, match="fingerprint"):
        EditJournal(path, planted_pool(5))


def test_an_edit_that_cannot_be_kept_is_not_made(make_service, ask, make_workspace, tmp_path, monkeypatch) -> None:
    """Guards against a full disk: an edit that is lost at the next start, or half a line that spoils the file."""
    path, base = tmp_path / "edits", make_workspace().task.pool
    service = make_service(with_lm=False, journal=EditJournal(path, base))
    before, write = path.read_bytes(), os.write

    def full(file: int, data: bytes) -> int:
        if len(data) < 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:30])

    with monkeypatch.context() as patched:
        patched.setattr("selector.service.journal.os.write", full)
        reply = ask.one(service, "POST", "/pool/examples", example("lost"))
    assert reply.status_code == 503
    ask.error(reply)
    assert len(service.answerer.pool) == len(base)
    assert path.read_bytes() == before
    assert ask.one(service, "POST", "/pool/examples", example("kept")).status_code == 201
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_edits_keep_what_counts_as_a_duplicate() -> None:
    """Guards against an edited pool that forgets [data] near_duplicates."""
    pool = Pool(planted_pool(4), near_duplicates=0.9)
    new = Example("new", {"text": "new"}, "fresh")
    for changed in (added(pool, new), removed(pool, pool[0].uid), edited(pool, [new, pool[1].uid])):
        assert changed.near_duplicates == 0.9
    assert edited(pool, []) is pool
    assert json.dumps([own.uid for own in edited(pool, [new, "new"])]) == json.dumps([own.uid for own in pool])


def test_a_search_goes_on_when_a_dev_text_joins_the_pool(make_service, ask) -> None:
    """Guards against an edit that is taken and then makes every request of a searching method fail."""
    service = make_service("best-of-k")
    copied = service.answerer.task.dev[0]
    row = example(copied.fields["text"], str(copied.label), uid="mine")
    assert ask.one(service, "POST", "/pool/examples", row).status_code == 201
    assert ask.one(service, "POST", "/select", ask.selection(shots=2)).status_code == 200
    body = ask.selection(demonstrations=[["mine", service.answerer.pool[0].uid]], orderer="best-on-dev")
    assert ask.one(service, "POST", "/order", body).status_code == 200
