"""Corrections of label scores for the bias of prompt and model. Formulas only; no model is called here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from selector.errors import UnknownNameError, UsageError

CALIBRATIONS: Final = ("none", "contextual", "batch")
CONTENT_FREE: Final = ("N/A", "[MASK]", "")
"""The content-free inputs of Zhao et al. (2021)."""

DOMAIN_INPUTS: Final = 20
"""How many inputs of random words Fei et al. (2023) average over."""

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


def domain_inputs(
    inputs: Sequence[Mapping[str, str]], *, count: int = DOMAIN_INPUTS, seed: int = 0
) -> list[dict[str, str]]:
    """Makes inputs of a domain's words that mean nothing together (Fei et al., 2023).

    Each field has as many words as it has on average, drawn with replacement from all words of that field.

    Args:
        inputs: Fields of examples of the domain; their labels are not needed.
        count: How many inputs.
        seed: Seeds the draws.

    Returns:
        `count` inputs with the same fields.

    Raises:
        UsageError: When there are no inputs.
    """
    if not inputs:
        raise UsageError(
            "words of a domain were asked for without any text of it", expected="an input", remedy="Pass the pool's."
        )
    generator = np.random.default_rng(seed)
    made: list[dict[str, str]] = [{} for _ in range(count)]
    for name in inputs[0]:
        words = [word for fields in inputs for word in fields[name].split()] or [""]
        length = max(1, round(len(words) / len(inputs)))
        for own in made:
            own[name] = " ".join(words[int(place)] for place in generator.integers(len(words), size=length))
    return made


def domain_calibrated(scores: Scores, domain: Scores) -> Scores:
    """Divides label probabilities by those of random words of the domain behind the same demonstrations.

    Fei et al. (2023), "Mitigating Label Biases for In-context Learning" (domain-context calibration), in log space.

    Args:
        scores: (N, L) label scores, nats.
        domain: (N, R, L) label scores of R inputs from `domain_inputs`, nats.

    Returns:
        (N, L) calibrated scores, nats up to a constant.
    """
    return contextually_calibrated(scores, domain)


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
