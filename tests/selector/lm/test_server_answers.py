"""Tests of how answers of a server are read where no server is needed."""

from __future__ import annotations

from typing import Any

import pytest

from selector.errors import ServerError
from selector.lm.server import ServerLanguageModel, _matched
from selector.lm.server_api import ServerApi
from selector.lm.server_modes import MATCHED, UNMATCHED


def test_whole_words_match_and_the_longest_wins() -> None:
    """Guards labels that begin with another: "1" won over the "10" that was written, and "not" over "not sure"."""
    for text, labels in ((" 10\n", [" 1", " 10"]), (" not sure.", [" not", " not sure"]), ("(B) it", ["A", "(B)"])):
        short, right = (_matched(label, text, 3).logprob for label in labels)
        assert right > short
        assert right <= MATCHED
    for label, text in ((" 1", " 10"), (" 1", " 1.5"), (" spam", " spam_x")):
        assert _matched(label, text, 3).logprob == UNMATCHED
    for label, text in ((" 积极", "积极的评价"), (" 1", " 1."), (" good", " good, 5 stars"), (" good", "good,5")):
        assert _matched(label, text, 3).logprob > UNMATCHED


@pytest.mark.parametrize("answer", [[], {"data": ["m"]}, {"data": 3}])
def test_models_listed_in_another_form_are_named(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a traceback where the address is not that of an OpenAI-compatible server."""
    api = ServerApi("http://127.0.0.1:9")
    monkeypatch.setattr(api, "get", lambda _: answer)
    with pytest.raises(ServerError, match="another form"):
        ServerLanguageModel(api)
