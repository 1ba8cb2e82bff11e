"""The one featuriser: what a policy sees, in training and in serving alike. Numpy only; no language model is asked.

Features speak of labels only as same or different, so a policy does not depend on what the labels are called. What a
language model says of a state can be handed in; see `selector.learned.lm_features`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from selector.learned.constraints import UNCONSTRAINED, Constraints
from selector.learned.lm_features import AGREEMENT, PRIOR_AGREEMENT, PROMPT_VIEW, PromptView
from selector.learned.shortlist import Shortlist

FEATURES: Final = (
    "similarity",  # cosine to the query
    "redundancy",  # largest cosine to a chosen demonstration, 0 when none is chosen
    "label_share",  # similarity-weighted share of the shortlist with the candidate's label
    "chosen_label_share",  # share of the chosen demonstrations with the candidate's label
    "rank",  # 0 for the most similar, 1 for the least
)
Observation = dict[str, npt.NDArray[np.float32]]


def feature_names(lm_features: bool, view: str = PROMPT_VIEW) -> tuple[str, ...]:
    """Names the F candidate features, in order.

    Args:
        lm_features: Whether the language model is asked.
        view: What it is shown; see `selector.learned.lm_features`.

    Returns:
        The names.
    """
    if not lm_features:
        return FEATURES
    return (*FEATURES, AGREEMENT if view == PROMPT_VIEW else PRIOR_AGREEMENT)


def observe(
    shortlist: Shortlist,
    chosen: Sequence[int],
    *,
    size: int,
    horizon: int,
    may_stop: bool,
    constraints: Constraints = UNCONSTRAINED,
    view: PromptView | None = None,
) -> Observation:
    """Describes a state: a query, its candidates and what has been chosen so far.

    Args:
        shortlist: The query's candidates, at most `size`.
        chosen: Places in the shortlist, in the order chosen.
        size: K, to which the candidates are padded with zeros.
        horizon: H, how many demonstrations can be chosen.
        may_stop: Whether stopping is a choice before the horizon.
        constraints: What the prompt may hold.
        view: What the language model says of the state; None where features do not ask it.

    Returns:
        float32 arrays, flat because learners expect vectors: query (D,), candidates (K * D,), features (K * F,), chosen
        (H * K,) one-hot rows in the order chosen, mask (K + 1,) with 1 where the action is valid (the last is STOP),
        and step (1,) the share of H that is chosen. With a view also prompt (P,), and one more feature.
    """
    count = len(shortlist)
    candidates = np.zeros((size, len(shortlist.query)), dtype=np.float32)
    candidates[:count] = shortlist.candidates
    features = np.zeros((size, len(feature_names(view is not None))), dtype=np.float32)
    features[:count, : len(FEATURES)] = candidate_features(shortlist, chosen)
    if view is not None:
        features[:count, len(FEATURES)] = view.agreement
    mask = valid_actions(shortlist, chosen, size=size, horizon=horizon, may_stop=may_stop, constraints=constraints)
    order = np.zeros((horizon, size), dtype=np.float32)
    order[np.arange(len(chosen)), list(chosen)] = 1.0
    seen: Observation = {
        "query": shortlist.query.astype(np.float32),
        "candidates": candidates.reshape(-1),
        "features": features.reshape(-1),
        "chosen": order.reshape(-1),
        "mask": mask.astype(np.float32),
        "step": np.array([len(chosen) / horizon], dtype=np.float32),
    }
    return seen if view is None else seen | {"prompt": view.prompt}


def candidate_features(shortlist: Shortlist, chosen: Sequence[int]) -> npt.NDArray[np.float32]:
    """Computes the features of every candidate; see `FEATURES`.

    Args:
        shortlist: The query's candidates.
        chosen: Places in the shortlist, in the order chosen.

    Returns:
        (len(shortlist), F) float32.
    """
    count = len(shortlist)
    same = shortlist.labels[:, None] == shortlist.labels[None, :]  # (K, K)
    # A softmax sharpens the vote: cosine similarities of neighbours differ little.
    weights = np.exp(10.0 * (shortlist.similarities - shortlist.similarities.max()))
    redundancy, chosen_share = np.zeros(count), np.zeros(count)
    if chosen:
        picked = list(chosen)
        redundancy = (shortlist.candidates @ shortlist.candidates[picked].T).max(axis=1)
        chosen_share = same[:, picked].mean(axis=1)
    rank = np.arange(count) / max(count - 1, 1)
    columns = (shortlist.similarities, redundancy, same @ (weights / weights.sum()), chosen_share, rank)
    return np.stack(columns, axis=1).astype(np.float32)


def valid_actions(
    shortlist: Shortlist,
    chosen: Sequence[int],
    *,
    size: int,
    horizon: int,
    may_stop: bool,
    constraints: Constraints = UNCONSTRAINED,
) -> npt.NDArray[np.bool_]:
    """Tells which actions are valid.

    Args:
        shortlist: The query's candidates.
        chosen: Places in the shortlist that are taken.
        size: K, the number of candidate actions.
        horizon: H, how many demonstrations can be chosen.
        may_stop: Whether stopping is a choice before the horizon.
        constraints: What the prompt may hold.

    Returns:
        (K + 1,) bool; the last is STOP, which is also valid when nothing else is.
    """
    mask = np.zeros(size + 1, dtype=bool)
    if len(chosen) < horizon:
        mask[: len(shortlist)] = constraints.allowed(shortlist, chosen)
        mask[list(chosen)] = False
    mask[size] = may_stop or not mask.any()
    return mask
