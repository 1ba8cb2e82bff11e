"""What a prompt may hold, as masks over candidates. Knows labels and token counts; knows nothing of language models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from selector.errors import UsageError
from selector.learned.shortlist import Shortlist


@dataclass(frozen=True)
class Constraints:
    """Limits that no choice can pass, in training and in serving alike.

    Attributes:
        max_per_label: How many demonstrations of one label a prompt may hold; None for no limit.
        token_budget: How many tokens its demonstrations may have together; None for no limit.
    """

    max_per_label: int | None = None
    token_budget: int | None = None

    def __post_init__(self) -> None:
        for name, limit in (("max_per_label", self.max_per_label), ("token_budget", self.token_budget)):
            if limit is not None and limit < 1:
                raise UsageError(f"{name} is {limit}", expected="1 or more", remedy="Choose another, or leave it out.")

    def allowed(self, shortlist: Shortlist, chosen: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Tells which candidates still fit beside those chosen; the chosen ones are not looked at.

        Args:
            shortlist: The query's candidates.
            chosen: Places in the shortlist that are taken.

        Returns:
            (len(shortlist),) bool.

        Raises:
            UsageError: When there is a token budget and the candidates' tokens were not counted.
        """
        allowed = np.ones(len(shortlist), dtype=bool)
        picked = list(chosen)
        if self.max_per_label is not None:
            borne = (shortlist.labels[:, None] == shortlist.labels[picked][None, :]).sum(axis=1)
            allowed &= borne < self.max_per_label
        if self.token_budget is not None:
            if shortlist.tokens is None:
                raise UsageError(
                    f"the token budget is {self.token_budget} and the candidates' tokens are not known",
                    expected="a shortlist with token counts",
                    remedy="Pass an engine or token_counts.",
                )
            allowed &= shortlist.tokens[picked].sum() + shortlist.tokens <= self.token_budget
        return allowed


UNCONSTRAINED: Final = Constraints()
