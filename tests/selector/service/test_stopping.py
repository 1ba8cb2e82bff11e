"""Tests of a service in a process of its own that is stopped while its models are busy."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from selector.data.pool import Pool
from selector.service.journal import EditJournal
from selector.service.server import CUT_SHORT
from selector.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
BUSY = 120  # seconds
PROGRAM = """
import sys, time
from pathlib import Path
from selector.service.answering import Answerer
from selector.service.application import Service
from selector.service.journal import EditJournal
from selector.service.limits import ServiceLimits
from selector.service.server import ServiceServer, listening_socket
from selector.workspace import Workspace

class Busy:
    def select(self, queries, k):
        print("busy", flush=True)
        time.sleep(float(sys.argv[4]))

workspace = Workspace.open(Path(sys.argv[1]), use_store=False)
journal = EditJournal(Path(sys.argv[2]), workspace.task.pool)
answerer = Answerer(workspace, "bm25", with_lm=False, journal=journal)
listener = listening_socket("127.0.0.1", 0)
print(listener.getsockname()[1], flush=True)
service = Service(answerer, limits=ServiceLimits(stop_seconds=float(sys.argv[3])))
answerer.selector = lambda method: Busy()
ServiceServer(service).run(sockets=[listener])
"""


@pytest.mark.parametrize(
    ("signals", "stop_seconds"),
    [((signal.SIGTERM, signal.SIGTERM), 60.0), ((signal.SIGTERM,), 0.5)],
    ids=["two signals", "too long"],
)
def test_a_stop_that_may_not_wait_does_not(
    planted_task: Path, tmp_path: Path, signals: Sequence[signal.Signals], stop_seconds: float
) -> None:
    """Guards against a process that lives until its models are done, a traceback, and an edit that is lost."""
    edits = tmp_path / "edits.jsonl"
    command = [sys.executable, "-c", PROGRAM, str(planted_task), str(edits), str(stop_seconds), str(BUSY)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
            body = {"fields": {"text": "planted"}, "label": "fresh", "uid": "kept"}
            assert httpx.post(f"{url}/pool/examples", json=body, timeout=30).status_code == 201
            asked = threading.Thread(target=_ask, args=(url,), daemon=True)
            asked.start()
            assert process.stdout.readline() == "busy\n"
            for one in signals:
                process.send_signal(one)
                time.sleep(0.3)  # two at the same moment would be one
            assert process.wait(BUSY / 2) == CUT_SHORT
        finally:
            process.kill()
        _, told = process.communicate()
    assert told == "stopped at once; requests without a reply: 1\n"
    asked.join(20)
    pool: Pool = Workspace.open(planted_task, use_store=False).task.pool
    with EditJournal(edits, pool) as journal:
        assert [getattr(edit, "uid", edit) for edit in journal.edits] == ["kept"]


def _ask(url: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{url}/select", json={"queries": [{"fields": {"text": "x"}}]}, timeout=BUSY)
