"""What configurations of trainings have in common: how a number that cannot be is refused, and one that diverged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.errors import ShotsmithError, UsageError


def refused(name: str, value: float, expected: str) -> UsageError:
    """Says that a setting cannot have a value.

    Args:
        name: Of the setting.
        value: Its value.
        expected: What it may be.

    Returns:
        The error.
    """
    return UsageError(f"{name} is {value}", expected=expected, remedy="Choose another number.")


def require_finite(losses: Sequence[float], *, step: int, rate: float) -> None:
    """Makes sure that a training has not diverged.

    Args:
        losses: Of one step.
        step: Its number.
        rate: The learning rate, for the error.

    Raises:
        ShotsmithError: When a loss is no longer a number.
    """
    if not np.isfinite(losses).all():
        raise ShotsmithError(
            f"the loss of step {step} is {' and '.join(map(str, losses))} at learning rate {rate:g}",
            expected="a number",
            remedy="Lower --learning-rate and start afresh with --no-resume.",
        )
