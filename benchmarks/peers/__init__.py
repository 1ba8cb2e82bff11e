"""Other people's ways to score labels, each run by the Python of its own environment under .venv-peers/."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workloads import Call
from selector.data.assets import find_bundled
from selector.inference.engine import InferenceEngine
from selector.lm.loading import converted_gguf

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parents[1] / ".venv-peers"


@dataclass(frozen=True)
class Peer:
    """One way of one peer.

    Attributes:
        name: As it stands in the results.
        environment: The folder under .venv-peers/.
        script: The program beside this file.
        dtype: Of weights and activations.
    """

    name: str
    environment: str
    script: str
    dtype: str

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ENVIRONMENTS / self.environment / "bin" / "python"


PEERS = (
    Peer("lm-eval bf16", "lm-eval", "lm_eval_harness.py", "bfloat16"),
    Peer("lm-eval fp32", "lm-eval", "lm_eval_harness.py", "float32"),
    Peer("openicl fp32", "openicl", "openicl_ppl.py", "float32"),
)


def installed_peers() -> list[Peer]:
    """Lists the peers whose environment is there.

    Returns:
        The peers.
    """
    return [peer for peer in PEERS if peer.python.is_file()]


def peer_rate(peer: Peer, engine: InferenceEngine, call: Call, *, sample: int) -> float | None:
    """Lets a peer score all labels of the first queries of a call.

    Args:
        peer: The peer.
        engine: Whose template makes the prompts.
        call: The call.
        sample: How many queries.

    Returns:
        Queries a second, loading not counted; None when the peer failed.
    """
    pairs = list(zip(call.queries, call.selections, strict=True))[:sample]
    prompts = [
        engine.template.prompt([engine.pool[index] for index in chosen.indices], query) for query, chosen in pairs
    ]
    with tempfile.TemporaryDirectory() as scratch:
        job, answer = Path(scratch) / "job.json", Path(scratch) / "answer.json"
        completions = [engine.template.completion(label) for label in engine.labels]
        model = str(converted_gguf(find_bundled("smollm2-135m-instruct")))
        job.write_text(
            json.dumps({"model": model, "dtype": peer.dtype, "prompts": prompts, "completions": completions})
        )
        finished = subprocess.run(  # noqa: S603
            [str(peer.python), str(HERE / peer.script), str(job), str(answer)],
            cwd=scratch,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            print(f"{peer.name} failed: {finished.stderr.strip().splitlines()[-1:]}")
            return None
        return sample / float(json.loads(answer.read_text())["seconds"])
