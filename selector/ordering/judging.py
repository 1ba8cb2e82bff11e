"""How labelled queries are answered behind several orders, all asked in one call of the engine.

It says which answers are right; which order is to be taken, and why, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from selector.errors import UnknownLabelError
from selector.inference.calibration import batch_calibrated
from selector.inference.engine import InferenceEngine
from selector.types import Example, Selection

Outcomes = npt.NDArray[np.bool_]


def right_answers(engine: InferenceEngine, queries: Sequence[Example], orders: Sequence[Selection]) -> Outcomes:
    """Lets the language model answer every query behind every order.

    Orders with a common start share it. Batch calibration, where set, is over the queries of one order, as it is when
    that order alone is used.

    Args:
        engine: Answers.
        queries: N labelled queries.
        orders: O orders, of one set or of several.

    Returns:
        (O, N) whether the answer is the gold one.

    Raises:
        UnknownLabelError: When a query has no label or one without verbalizer.
        PromptTooLongError: When a query does not fit even without demonstrations.
    """
    asked = list(queries) * len(orders)
    shown = [order for order in orders for _ in queries]
    shape = (len(orders), len(queries))
    if engine.template.free_text:
        if any(query.label is None for query in queries):
            raise UnknownLabelError(str(None), known=("any text",), where="a labelled query")
        return engine.right(asked, engine.predict(asked, shown)).reshape(shape)
    gold = engine.gold_columns(queries)
    scores = engine.score(asked, shown)
    scores = scores.reshape(*shape, scores.shape[1])
    if engine.calibration == "batch" and scores.size:
        scores = np.stack([batch_calibrated(own) for own in scores])
    outcomes: Outcomes = scores.argmax(axis=2) == gold
    return outcomes
