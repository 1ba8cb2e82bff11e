"""Tests of greedy and beam choices, against choices made one by one and against trying everything."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.errors import UsageError
from selector.learned.network import PointerNetwork, PointerNetworkConfig
from selector.learned.observation import FEATURES, observe
from selector.learned.rollout import beam_rollout, greedy_rollout
from selector.learned.shortlist import Shortlist, build_shortlists
from selector.strategies.dense import NearestSelector
from selector.testing import ToyEncoder, planted_examples, planted_pool


def shortlists(count: int = 3, *, size: int = 5, pool: int = 20) -> list[Shortlist]:
    queries = planted_examples(count, seed=50, prefix="q")
    return build_shortlists(queries, NearestSelector(planted_pool(pool), ToyEncoder()), size)


def network(seed: int) -> PointerNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = PointerNetwork(PointerNetworkConfig(width=32, features=len(FEATURES), hidden=8, similarity_weight=0.0))
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return made.eval()


def logprobs(made: PointerNetwork, own: Shortlist, chosen: list[int], *, horizon: int, may_stop: bool) -> np.ndarray:
    seen = observe(own, chosen, size=6, horizon=horizon, may_stop=may_stop)
    batch = {name: torch.from_numpy(array)[None] for name, array in seen.items()}
    with torch.inference_mode():
        return made(batch)[0].masked_fill(batch["mask"] == 0, -torch.inf).log_softmax(dim=-1)[0].numpy()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.booleans(), st.integers(0, 4))
def test_one_beam_is_greedy(seed: int, may_stop: bool, horizon: int) -> None:
    """Guards the exported policy's choices: the best valid action at every step, as a loop over single states finds."""
    made, own = network(seed), shortlists()
    found = greedy_rollout(made, own, size=6, horizon=horizon, may_stop=may_stop)
    beam = beam_rollout(made, own, size=6, horizon=horizon, may_stop=may_stop, beams=1)
    assert found == beam
    for shortlist, selection in zip(own, found, strict=True):
        chosen: list[int] = []
        while len(chosen) < horizon:
            row = logprobs(made, shortlist, chosen, horizon=horizon, may_stop=may_stop)
            if int(row.argmax()) == 6:
                break
            assert selection.scores[len(chosen)] == pytest.approx(row.max(), abs=1e-5)
            chosen.append(int(row.argmax()))
        assert selection.indices == tuple(shortlist.indices[place] for place in chosen)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_a_wide_beam_finds_the_most_probable_prompt(seed: int) -> None:
    """Guards the search: with room for all beginnings it is exhaustive, and it never does worse than greedy."""
    made, own = network(seed), shortlists(1)
    (best,) = beam_rollout(made, own, size=6, horizon=2, may_stop=False, beams=5)
    totals = {}
    for pair in permutations(range(5), 2):
        first = logprobs(made, own[0], [], horizon=2, may_stop=False)[pair[0]]
        totals[pair] = first + logprobs(made, own[0], [pair[0]], horizon=2, may_stop=False)[pair[1]]
    assert sum(best.scores) == pytest.approx(max(totals.values()), abs=1e-5)
    (greedy,) = greedy_rollout(made, own, size=6, horizon=2, may_stop=False)
    assert sum(best.scores) >= sum(greedy.scores) - 1e-5


def test_stopping_competes_with_going_on() -> None:
    """Guards beams that have ended: they stay, and a later, more probable one may still overtake them."""
    made, own = network(3), shortlists(2)
    with torch.no_grad():
        made.stop.bias.fill_(50.0)
    assert all(one.indices == () for one in beam_rollout(made, own, size=6, horizon=3, may_stop=True, beams=4))
    with torch.no_grad():
        made.stop.bias.fill_(-50.0)
    assert all(len(one.indices) == 3 for one in beam_rollout(made, own, size=6, horizon=3, may_stop=True, beams=4))


def test_beams_over_short_shortlists_and_none() -> None:
    """Guards pools that hold fewer than are asked for, and an empty batch."""
    made = network(0)
    short = shortlists(2, size=5, pool=2)
    assert [len(one.indices) for one in beam_rollout(made, short, size=6, horizon=4, may_stop=False, beams=3)] == [2, 2]
    assert beam_rollout(made, [], size=6, horizon=4, may_stop=False, beams=3) == []
    with pytest.raises(UsageError, match="beams is 0"):
        beam_rollout(made, short, size=6, horizon=4, may_stop=False, beams=0)
