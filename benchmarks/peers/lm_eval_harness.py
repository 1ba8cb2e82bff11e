"""Scores a job with lm-evaluation-harness; run by the Python of .venv-peers/lm-eval.

python lm_eval_harness.py JOB.json ANSWER.json
"""

import json
import sys
import time
from pathlib import Path

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

job = json.loads(Path(sys.argv[1]).read_text())
lm = HFLM(pretrained=job["model"], dtype=job["dtype"], device="cpu", batch_size=16)
pairs = [(prompt, completion) for prompt in job["prompts"] for completion in job["completions"]]
requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
lm.loglikelihood(requests[: len(job["completions"])], disable_tqdm=True)  # warm-up
start = time.perf_counter()
scores = lm.loglikelihood(requests, disable_tqdm=True)
seconds = time.perf_counter() - start
Path(sys.argv[2]).write_text(json.dumps({"seconds": seconds, "scores": [float(score) for score, _ in scores]}))
