"""Engines that differ from another in one part, so that a setting they share is not forgotten in one place."""

from __future__ import annotations

from selector.data.pool import Pool
from selector.inference.engine import InferenceEngine
from selector.prompting.template import PromptTemplate


def changed_engine(
    engine: InferenceEngine,
    *,
    template: PromptTemplate | None = None,
    pool: Pool | None = None,
    calibration: str | None = None,
) -> InferenceEngine:
    """Makes an engine over the same language model that differs in what is given.

    Args:
        engine: Whose other parts are kept.
        template: Another template.
        pool: Another pool.
        calibration: Another calibration.

    Returns:
        The engine.

    Raises:
        ShotsmithError: When these do not go together; see `InferenceEngine`.
    """
    return InferenceEngine(
        engine.lm,
        engine.template if template is None else template,
        engine.pool if pool is None else pool,
        scoring=engine.scoring,
        calibration=engine.calibration if calibration is None else calibration,
    )
