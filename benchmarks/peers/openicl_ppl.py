"""Scores a job with OpenICL's PPLInferencer; run by the Python of .venv-peers/openicl.

python openicl_ppl.py JOB.json ANSWER.json
"""

import json
import sys
import time
from pathlib import Path

from datasets import Dataset, DatasetDict
from openicl import DatasetReader, PPLInferencer, PromptTemplate, ZeroRetriever

job = json.loads(Path(sys.argv[1]).read_text())
rows = Dataset.from_dict({"text": job["prompts"], "label": [0] * len(job["prompts"])})
data = DatasetReader(DatasetDict({"train": rows, "test": rows}), input_columns=["text"], output_column="label")
template = PromptTemplate(
    {number: f"</E></text>{completion}" for number, completion in enumerate(job["completions"])},
    column_token_map={"text": "</text>"},
    ice_token="</E>",  # noqa: S106 (no secret: it marks the place of demonstrations)
)
Path("icl_inference_output").mkdir(exist_ok=True)  # OpenICL writes there and does not make it
inferencer = PPLInferencer(model_name=job["model"], batch_size=16)
start = time.perf_counter()
inferencer.inference(ZeroRetriever(data), prompt_template=template)
Path(sys.argv[2]).write_text(json.dumps({"seconds": time.perf_counter() - start}))
