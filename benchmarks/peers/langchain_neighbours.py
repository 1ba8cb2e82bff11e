"""Finds neighbours with LangChain's example selectors; run by the Python of .venv-peers/langchain.

python langchain_neighbours.py JOB.json ANSWER.json
"""

import warnings

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.example_selectors import MaxMarginalRelevanceExampleSelector, SemanticSimilarityExampleSelector
from langchain_core.vectorstores import InMemoryVectorStore
from stopwatch import read_job, timed, write_answer

warnings.filterwarnings("ignore", category=DeprecationWarning)
from langchain_community.vectorstores import FAISS  # noqa: E402 (says on import that nobody maintains it)


class Known(Embeddings):
    """Looks embeddings up; embeds queries where there is an encoder."""

    def __init__(self, rows: dict[str, np.ndarray], folder: str | None) -> None:
        self.rows, self.model = rows, None
        if folder:
            from sentence_transformers import SentenceTransformer

            self.model = SentenceTransformer(folder, device="cpu")

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Looks up the pool."""
        return [self.rows[text].tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Looks a query up, or embeds it."""
        if self.model is None or text not in self.rows:
            return self.rows.get(text, next(iter(self.rows.values()))).tolist()
        return self.model.encode([text], normalize_embeddings=True, show_progress_bar=False)[0].tolist()


job = read_job()
vectors = np.load(job["vectors"])
known = Known(
    dict(zip([*job["pool"], *job["queries"]], [*vectors["pool"], *vectors["queries"]], strict=True)), job["encoder"]
)
examples = [{"text": text, "number": str(number)} for number, text in enumerate(job["pool"])]
options = {"k": job["k"], "input_keys": ["text"]}
ways = {"nearest": SemanticSimilarityExampleSelector.from_examples(examples, known, FAISS, **options)}
if job["encoder"] is None:
    ways["mmr"] = MaxMarginalRelevanceExampleSelector.from_examples(
        examples, known, FAISS, fetch_k=job["shortlist"], **options
    )
    ways["nearest, in-memory store"] = SemanticSimilarityExampleSelector.from_examples(
        examples, known, InMemoryVectorStore, **options
    )
answer = {}
for name, way in ways.items():

    def one(text: str, way: object = way) -> list[int]:
        """Finds the neighbours of one query."""
        return [int(example["number"]) for example in way.select_examples({"text": text})]

    asked = job["queries"][: job["slow"] if "memory" in name else None]
    answer[name] = timed(one, lambda texts, one=one: [one(text) for text in texts], asked)
write_answer(answer)
