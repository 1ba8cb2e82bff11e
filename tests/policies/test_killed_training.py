"""Tests of policy training whose process is killed by SIGKILL: it goes on to the weights it would have had."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from policies.checkpoint_folder import latest_checkpoint
from policies.finalists import PROMPT_FILE

PER_QUERY = """
from envs.planted import planted_problem
from policies.policy_config import PolicyTrainingConfig
from policies.ppo import train_policy as train
problem, _ = planted_problem()
config = PolicyTrainingConfig(
    shots=2, shortlist_size=6, total_steps=512, copies=8, rollout_steps=4, batch_size=16, warm_start="none",
    evaluate_every=2,
)
"""
CORPUS = """
from envs.planted_corpus import planted_corpus_problem
from policies.corpus_config import CorpusTrainingConfig
from policies.offline_dqn import train_corpus_policy as train
problem, _, _ = planted_corpus_problem()
config = CorpusTrainingConfig(
    shots=3, candidates=10, episodes=12, steps=200, target_every=20, evaluate_every=20, online_episodes=4,
)
"""
TRAIN = """
import sys
from contextlib import contextmanager
from pathlib import Path
from policies.runs import Provenance

class Tells:
    @contextmanager
    def track(self, description, total):
        def advance(steps):
            print(description, flush=True)
        yield advance

provenance = Provenance("toy", labelled_demonstrations=False, fingerprints={})
train(problem, problem, out=Path(sys.argv[1]), config=config, provenance=provenance, progress=Tells())
"""


def start(program: str, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program + TRAIN, str(out)], stdout=subprocess.PIPE, text=True)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """What a resumed training must end with: the weights, and the state of optimiser and generators."""
    place = latest_checkpoint(run / "checkpoints")
    assert place is not None
    files = [*place.glob("*.safetensors"), run / "best" / "policy.safetensors"]
    return {f"{file.name}:{name}": tensor for file in files for name, tensor in load_file(file).items()}


@pytest.mark.parametrize(
    ("program", "stage", "moves"),
    [(PER_QUERY, "train policy", 25), (CORPUS, "Q-network", 90), (CORPUS, "judge the best prompts", 4)],
)
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path, program: str, stage: str, moves: int) -> None:
    """Guards against what an exception in the same process cannot show: buffers not flushed, files half written."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with start(program, whole) as beside:
        with start(program, cut) as killed:
            assert killed.stdout is not None
            for line in killed.stdout:
                moves -= stage in line
                if not moves:
                    killed.send_signal(signal.SIGKILL)
                    break
        assert killed.wait() == -signal.SIGKILL
        with start(program, cut) as again:
            again.communicate(timeout=300)
        beside.communicate(timeout=300)
    assert again.returncode == beside.returncode == 0
    for name in {PROMPT_FILE} & {file.name for file in whole.iterdir()}:
        assert (cut / name).read_text() == (whole / name).read_text()
    found, wanted = tensors(cut), tensors(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
