"""What `shotsmith serve` bears: selections a second, tails, overload, and a kill among edits of the pool.

    python -m benchmarks.service_load                                     a policy over bundled real data
    python -m benchmarks.service_load --artifact DIR --task TASK.toml     one of yours

The server is a second process on loopback and shares the cores with the load. Every query is a text that nobody has
embedded. The same load comes once more for every other way to embed queries, with how often the choice is the same.
Without an artifact the policy's network is untrained: its weights do not change what a selection costs.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import psutil
import requests
import typer

from benchmarks.machine import described
from selector.data.task import Task
from selector.learned.artifact import write_artifact
from selector.learned.manifest import Manifest
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES
from selector.retrieval.encoder import ENCODINGS, TORCH, SentenceEncoder
from selector.service.methods import QuickQueries
from selector.strategies.exported import load_policy

RESULT: Final = Path(__file__).parent / "results" / "service.json"
SHOTS, CANDIDATES = 4, 32
QUEUE: Final = 32  # requests that may wait: the load stays beneath it, the overload does not
MIB: Final = 1024 * 1024


@dataclass
class Load:
    """What one load has seen.

    Attributes:
        statuses: How often each status came; "error" for a connection that broke.
        milliseconds: How long each request that was answered took.
        seconds: How long the load lasted.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def described(self) -> dict[str, Any]:
        """Gives the numbers of the result file."""
        total, answered = sum(self.statuses.values()), self.statuses["200"]
        tails = np.percentile(self.milliseconds, (50, 99)).tolist() if self.milliseconds else (None, None)
        return {
            "requests": total,
            "selections_per_second": answered / self.seconds,
            "p50_ms": tails[0],
            "p99_ms": tails[1],
            "share_of_429": self.statuses["429"] / max(total, 1),
            "errors": total - answered - self.statuses["429"],
            "statuses": dict(self.statuses),
        }


class Server:
    """A server in a process of its own.

    Args:
        artifact: What it serves.
        task: Its task.
        edits: Its file of edits.
        encoding: How queries are embedded.
    """

    def __init__(self, artifact: str, task: str, edits: Path, *, encoding: str = TORCH) -> None:
        command = [sys.executable, "-m", "policies.cli", "serve", artifact, "--task", task, "--port", "0", "--no-lm"]
        command += ["--queue", str(QUEUE), "--edits", str(edits)]
        command += ["--query-encoder", encoding]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
        told = []
        for line in self.process.stderr or ():
            told.append(line)
            if line.startswith("serving "):
                break
        else:
            raise RuntimeError("the server did not start: " + "".join(told))
        self.url = told[-1].split()[-1].rstrip("/")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def memory(self) -> float:
        """What it holds, MiB."""
        return float(psutil.Process(self.process.pid).memory_info().rss / MIB)

    def end(self, how: signal.Signals) -> int:
        """Sends a signal, and waits.

        Args:
            how: The signal.

        Returns:
            The exit code.
        """
        self.process.send_signal(how)
        _, code = self.process.communicate(timeout=60), self.process.returncode
        return int(code)


@contextmanager
def running(artifact: str, task: str, edits: Path, *, encoding: str = TORCH) -> Iterator[Server]:
    """A server that is gone afterwards, whatever happens."""
    server = Server(artifact, task, edits, encoding=encoding)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


async def connection(port: int, bodies: Iterator[bytes], load: Load, end: float) -> None:
    """Sends one request after the other until the time is up; opens a new connection where one was closed."""
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while time.perf_counter() < end:
        body, start = next(bodies), time.perf_counter()
        head = (
            f"POST /select HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        try:
            streams = streams or await asyncio.open_connection("127.0.0.1", port)
            reader, writer = streams
            writer.write(head.encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            names = dict(line.lower().split(b": ", 1) for line in answer.split(b"\r\n")[1:-2])
            await reader.readexactly(int(names[b"content-length"]))
        except (OSError, asyncio.IncompleteReadError):
            load.statuses["error"] += 1
            streams = None
            continue
        status = answer[9:12].decode()
        load.statuses[status] += 1
        if status == "200":
            load.milliseconds.append(1000 * (time.perf_counter() - start))
        if names.get(b"connection") == b"close":
            writer.close()
            streams = None
    if streams is not None:
        streams[1].close()


def loaded(server: Server, bodies: Iterator[bytes], *, connections: int, seconds: float) -> Load:
    """Lets many connections ask at once.

    Args:
        server: Who is asked.
        bodies: What is asked, without end.
        connections: How many ask; each waits for its reply.
        seconds: How long.

    Returns:
        What was seen.
    """
    load, start = Load(), time.perf_counter()

    async def all_of_them() -> None:
        end = start + seconds
        await asyncio.gather(*(connection(server.port, bodies, load, end) for _ in range(connections)))

    asyncio.run(all_of_them())
    load.seconds = time.perf_counter() - start
    return load


def fresh_bodies(texts: Sequence[dict[str, str]]) -> Iterator[bytes]:
    """Requests of one query each, no two alike."""
    for number in itertools.count():
        fields = {name: f"{text} ({number})" for name, text in texts[number % len(texts)].items()}
        yield json.dumps({"queries": [{"fields": fields}], "shots": SHOTS}).encode()


def killed_among_edits(server: Server, task: Task, edits: int) -> set[str]:
    """Adds examples, takes every other one out again, and kills the server while more edits are on their way.

    Returns:
        The uids that the server has confirmed; the one edit that it could not confirm may be kept or not.
    """
    fields, label = dict(task.test[0].fields), task.template.labels[0]
    held: set[str] = set()

    def edit() -> None:
        with suppress(requests.ConnectionError):  # the kill
            for number in itertools.count():
                example = {"uid": f"edit-{number}", "label": label, "fields": dict.fromkeys(fields, f"{number}")}
                requests.post(f"{server.url}/pool/examples", json=example, timeout=30).raise_for_status()
                held.add(f"edit-{number}")
                if number % 2:
                    gone = f"edit-{number - 1}"
                    held.discard(gone)  # once it is asked for, nobody knows until it is confirmed
                    requests.delete(f"{server.url}/pool/examples/{gone}", timeout=30).raise_for_status()

    editing = threading.Thread(target=edit)
    editing.start()
    while len(held) < edits // 2 and editing.is_alive():
        time.sleep(0.001)
    server.process.send_signal(signal.SIGKILL)
    editing.join()
    server.process.communicate()
    return held


def edits_of(server: Server) -> set[str]:
    """The uids of added examples that a server holds."""
    page = requests.get(f"{server.url}/pool/examples?containing=edit-&limit=200", timeout=30).json()
    return {own["uid"] for own in page["examples"] if own["uid"].startswith("edit-")}


def same_choices(artifact: str, task: Task, encoding: str) -> dict[str, float]:
    """How often a policy chooses alike where queries are embedded in another way.

    Returns:
        The "share" of the task's test queries with the same demonstrations in the same order, and with the same "set".
    """
    exact, quick = load_policy(artifact, task.pool), load_policy(artifact, task.pool)
    QuickQueries(encoding).given_to(quick)
    pairs = list(zip(*(one.select(task.test, SHOTS) for one in (exact, quick)), strict=True))
    return {
        "queries": len(pairs),
        "share": float(np.mean([one.indices == other.indices for one, other in pairs])),
        "set": float(np.mean([set(one.indices) == set(other.indices) for one, other in pairs])),
    }


def untrained_policy(task: Task, folder: Path) -> Path:
    """An artifact with random weights over a task's pool: it costs what a trained one costs."""
    encoder = SentenceEncoder.load(task.encoder.model)
    sizes = PointerNetworkConfig(width=encoder.width, features=len(FEATURES))
    fingerprints = {"pool": task.pool.fingerprint, "encoder": encoder.fingerprint}
    manifest = Manifest(SHOTS, CANDIDATES, False, False, vars(sizes), task.encoder.model, fingerprints)
    return write_artifact(folder, manifest, PointerNetwork(sizes))


def main(
    *,
    artifact: Annotated[str, typer.Option(help="The artifact that is served; by default an untrained policy.")] = "",
    task: Annotated[str, typer.Option(help="Its task.")] = "rotten-tomatoes",
    seconds: Annotated[float, typer.Option(help="How long each load lasts.")] = 60.0,
    connections: Annotated[int, typer.Option(help="Connections; the overload has ten times as many.")] = 16,
    edits: Annotated[int, typer.Option(help="Edits before the kill, at least.")] = 50,
    out: Annotated[Path, typer.Option(help="The JSON file.")] = RESULT,
) -> None:
    """Measures, and fails where an edit was lost or a request went wrong."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    of_task = Task.load(task)
    bodies = fresh_bodies([dict(query.fields) for query in of_task.test])
    result: dict[str, Any] = {"machine": described(), "task": of_task.name, "pool": len(of_task.pool), "queue": QUEUE}
    result |= {"connections": connections, "trained": bool(artifact)}
    with tempfile.TemporaryDirectory() as scratch:
        artifact = artifact or str(untrained_policy(of_task, Path(scratch) / "policy"))
        journal = Path(scratch) / "edits.jsonl"
        with running(artifact, task, journal) as server:
            loaded(server, bodies, connections=1, seconds=2)  # embeds the pool
            memory = {"before_mib": server.memory}
            result["load"] = loaded(server, bodies, connections=connections, seconds=seconds).described()
            memory["after_load_mib"] = server.memory
            result["overload"] = loaded(server, bodies, connections=10 * connections, seconds=seconds).described()
            memory["after_overload_mib"] = server.memory
            result["after"] = loaded(server, bodies, connections=connections, seconds=min(seconds, 5)).described()
            result["memory"] = memory
            held = killed_among_edits(server, of_task, edits)
        with running(artifact, task, journal) as server:
            found = edits_of(server)
            result["kill"] = {"confirmed": len(held), "lost": len(held - found), "unconfirmed": len(found - held)}
            result["exit_code_after_sigterm"] = server.end(signal.SIGTERM)
        for encoding in ENCODINGS[1:]:
            with running(artifact, task, Path(scratch) / f"{encoding}.jsonl", encoding=encoding) as server:
                loaded(server, bodies, connections=1, seconds=2)
                result[encoding] = loaded(server, bodies, connections=connections, seconds=seconds).described()
            result[encoding]["same"] = same_choices(artifact, of_task, encoding)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    wrong = result["load"]["errors"] + result["overload"]["errors"] + result["load"]["statuses"].get("429", 0)
    if wrong or held - found or len(found - held) > 1 or result["exit_code_after_sigterm"]:
        raise RuntimeError("a request went wrong, an edit was lost, or the service did not stop: see above")


if __name__ == "__main__":
    typer.run(main)
