"""Corrections of label scores for the bias of prompt and model. Formulas only; no model is called here."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from selector.errors import UnknownNameError, UsageError

CALIBRATIONS: Final = ("none", "contextual", "batch")
CONTENT_FREE: Final = ("N/A", "[MASK]", "")
"""The content-free inputs of Zhao et al. (2021)."""

Scores = npt.NDArray[np.float64]


def check_calibration(name: str) -> None:
    """Makes sure that a calibration exists.

    Args:
        name: Its name.

    Raises:
        UnknownNameError: When there is none of that name.
    """
    if name not in CALIBRATIONS:
        raise UnknownNameError("calibration", name, known=CALIBRATIONS)


def log_softmax(scores: Scores) -> Scores:
    """Normalises label scores to log-probabilities over the labels.

    Args:
        scores: (..., L) label scores, nats.

    Returns:
        (..., L); the exponentials of the last axis sum to 1.
    """
    shifted = scores - scores.max(axis=-1, keepdims=True)
    normalised: Scores = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


def contextually_calibrated(scores: Scores, content_free: Scores) -> Scores:
    """Divides label probabilities by those of content-free inputs behind the same demonstrations.

    Zhao et al. (2021), "Calibrate Before Use", with W = diag(p_cf)^-1, in log space.

    Args:
        scores: (N, L) label scores, nats.
        content_free: (N, F, L) label scores of F content-free inputs, nats.

    Returns:
        (N, L) calibrated scores, nats up to a constant.
    """
    probabilities = np.exp(log_softmax(content_free)).mean(axis=1)
    calibrated: Scores = log_softmax(scores) - np.log(np.maximum(probabilities, 1e-30))
    return calibrated


def batch_calibrated(scores: Scores) -> Scores:
    """Divides label probabilities by their mean over the batch.

    Zhou et al. (2024), "Batch Calibration", in log space. The result depends on which queries are in the batch.

    Args:
        scores: (N, L) label scores, nats; N of at least 2.

    Returns:
        (N, L) calibrated scores, nats up to a constant.

    Raises:
        UsageError: When the batch holds fewer than two queries, whose mean would say nothing.
    """
    if len(scores) < 2:
        raise UsageError(
            f"batch calibration was asked for {len(scores)} query",
            expected="at least 2 queries in one call",
            remedy='Pass the queries together, or set calibration to "contextual" or "none".',
        )
    logprobs = log_softmax(scores)
    calibrated: Scores = logprobs - np.log(np.exp(logprobs).mean(axis=0, keepdims=True))
    return calibrated
