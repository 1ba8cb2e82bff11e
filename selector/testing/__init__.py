"""For tests, ours and those of third parties: fakes, planted data, and the laws that every implementation must keep.

Nothing here is used in production.
"""

from selector.errors import LawBrokenError
from selector.testing.fakes import ScriptedLanguageModel, ToyEncoder, ToyLanguageModel
from selector.testing.language_model_checks import LANGUAGE_MODEL_LAWS, LanguageModelTrial, check_language_model
from selector.testing.orderer_checks import ORDERER_LAWS, OrdererTrial, check_orderer
from selector.testing.planted import planted_examples, planted_pool, planted_template
from selector.testing.selector_checks import SELECTOR_LAWS, check_selector
from selector.testing.selector_trial import SelectorPromises, SelectorTrial

__all__ = [
    "LANGUAGE_MODEL_LAWS",
    "ORDERER_LAWS",
    "SELECTOR_LAWS",
    "LanguageModelTrial",
    "LawBrokenError",
    "OrdererTrial",
    "ScriptedLanguageModel",
    "SelectorPromises",
    "SelectorTrial",
    "ToyEncoder",
    "ToyLanguageModel",
    "check_language_model",
    "check_orderer",
    "check_selector",
    "planted_examples",
    "planted_pool",
    "planted_template",
]
