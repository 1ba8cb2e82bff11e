"""Finds neighbours with DSPy's KNN; run by the Python of .venv-peers/dspy.

python dspy_neighbours.py JOB.json ANSWER.json
"""

import dspy
import numpy as np
from dspy.predict import KNN
from stopwatch import read_job, timed, write_answer

job = read_job()
vectors = np.load(job["vectors"])
rows = dict(zip([*job["pool"], *job["queries"]], [*vectors["pool"], *vectors["queries"]], strict=True))
model = None
if job["encoder"]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(job["encoder"], device="cpu")


def embed(texts: list[str]) -> np.ndarray:
    """Looks texts up, or embeds a query."""
    plain = [text.removeprefix("text: ") for text in texts]  # KNN puts the field's name before it
    if model is None or len(plain) > 1 or plain[0] not in rows:
        return np.stack([rows.get(text, vectors["queries"][0]) for text in plain])
    return model.encode(plain, normalize_embeddings=True, show_progress_bar=False)


examples = [dspy.Example(text=text, number=number).with_inputs("text") for number, text in enumerate(job["pool"])]
knn = KNN(job["k"], examples, dspy.Embedder(embed, caching=False))  # it would keep vectors on disk from run to run


def one(text: str) -> list[int]:
    """Finds the neighbours of one query."""
    return [example.number for example in knn(text=text)]


write_answer({"nearest": timed(one, lambda texts: [one(text) for text in texts], job["queries"])})
