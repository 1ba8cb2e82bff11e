"""What a policy for one prompt per task sees, in training and in serving alike. Numpy only.

Nothing depends on the number of candidates, so a policy can be used with a pool that it has never seen. Labels count
as same or different and, where the candidates know some by name, by that name as well: which label a language model
favours, and which it should read last, is most of what makes one prompt better than another (Zhao et al., 2021). A task
with other labels is left with the former. The columns of the language model, where a policy reads them, are given.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from selector.learned.candidate_set import TRAITS, CandidateSet
from selector.learned.constraints import UNCONSTRAINED, Constraints
from selector.learned.observation import Observation, valid_actions

STATE_FEATURES: Final = (
    "step",  # share of the demonstrations that are chosen
    "label_coverage",  # distinct labels among them, as a share of the most there can be
    "mean_similarity",  # mean cosine of the chosen ones to the task
    "mean_redundancy",  # mean cosine of pairs of them
    "mean_agreement",  # mean agreement of the chosen ones with their neighbourhoods
)
CANDIDATE_FEATURES: Final = (
    "similarity",  # cosine to the task
    *TRAITS,
    "redundancy",  # largest cosine to a chosen demonstration, 0 when none is chosen
    "last_similarity",  # cosine to the demonstration chosen last, 0 when none is
    "chosen_label_share",  # share of the chosen demonstrations with the candidate's label
    "label_missing",  # 1 when none of them has it
    "repeats_last_label",  # 1 when the one chosen last has it
)
LM_FEATURES: Final = (  # of the label distribution with the candidate as the query behind what is chosen
    "entropy",  # as a share of the largest possible
    "least",  # smallest probability
    "most",  # largest probability
    "deviation",  # their standard deviation
)
Columns = npt.NDArray[np.float32]


def observe_corpus(
    candidates: CandidateSet,
    chosen: Sequence[int],
    *,
    horizon: int,
    may_stop: bool,
    excluded: Collection[int] = (),
    constraints: Constraints = UNCONSTRAINED,
    uncertainty: Columns | None = None,
) -> Observation:
    """Describes a state: the candidates and what has been chosen so far.

    Args:
        candidates: K candidates.
        chosen: Places among them, in the order chosen.
        horizon: H, how many demonstrations can be chosen.
        may_stop: Whether stopping is a choice before the horizon.
        excluded: Places that may not be chosen.
        constraints: What the prompt may hold.
        uncertainty: (K, 4) what the language model adds, see `LM_FEATURES`; None where a policy does not ask it.

    Returns:
        float32 arrays, flat because learners expect vectors: state (S,), features (K * F,), and mask (K + 1,) with 1
        where the action is valid (the last is STOP). S and F hold a column more for every label known by name.
    """
    own = candidate_columns(candidates, chosen)
    features = own if uncertainty is None else np.concatenate([own, uncertainty], axis=1)
    size = len(candidates)
    shortlist = candidates.shortlist
    mask = valid_actions(shortlist, chosen, size=size, horizon=horizon, may_stop=may_stop, constraints=constraints)
    mask[list(excluded)] = False
    mask[size] = may_stop or not mask[:size].any()
    return {
        "state": state_columns(candidates, chosen, horizon=horizon),
        "features": features.reshape(-1),
        "mask": mask.astype(np.float32),
    }


def candidate_columns(candidates: CandidateSet, chosen: Sequence[int]) -> Columns:
    """Computes the features of every candidate; see `CANDIDATE_FEATURES`.

    Args:
        candidates: K candidates.
        chosen: Places among them, in the order chosen.

    Returns:
        (K, F) float32; the last columns tell the labels known by name.
    """
    shortlist, size = candidates.shortlist, len(candidates)
    redundancy, last = np.zeros((2, size), dtype=np.float32)
    share, missing, repeats = np.zeros(size), np.ones(size), np.zeros(size)
    if chosen:
        picked = list(chosen)
        similarities = shortlist.candidates @ shortlist.candidates[picked].T  # (K, chosen)
        same = shortlist.labels[:, None] == shortlist.labels[picked][None, :]
        redundancy, last = similarities.max(axis=1), similarities[:, -1]
        share, missing, repeats = same.mean(axis=1), 1.0 - same.any(axis=1), same[:, -1].astype(np.float64)
    columns = (
        *(shortlist.similarities, *candidates.traits.T, redundancy, last, share, missing, repeats),
        *candidates.label_columns.T,
    )
    return np.stack(columns, axis=1).astype(np.float32)


def state_columns(candidates: CandidateSet, chosen: Sequence[int], *, horizon: int) -> Columns:
    """Computes the features of the state; see `STATE_FEATURES`.

    Args:
        candidates: K candidates.
        chosen: Places among them, in the order chosen.
        horizon: H, how many demonstrations can be chosen.

    Returns:
        (S,) float32; the last columns tell of each label known by name how many demonstrations have it, as a share of
        H.
    """
    named = candidates.label_columns
    if not chosen:
        return np.zeros(len(STATE_FEATURES) + named.shape[1], dtype=np.float32)
    shortlist, picked, count = candidates.shortlist, list(chosen), len(chosen)
    rows = shortlist.candidates[picked]
    pairs = (rows @ rows.T)[np.triu_indices(count, k=1)]
    values = (
        count / horizon,
        len(set(shortlist.labels[picked].tolist())) / min(horizon, candidates.label_count),
        shortlist.similarities[picked].mean(),
        pairs.mean() if count > 1 else 0.0,
        candidates.traits[picked, TRAITS.index("agreement")].mean(),
        *(named[picked].sum(axis=0) / horizon),
    )
    return np.array(values, dtype=np.float32)
