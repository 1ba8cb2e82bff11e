"""All that is needed to answer with demonstrations: data, prompts, language models, selectors, orderers, evaluation.

This package never imports the decision problem (`envs`) or the learners (`policies`).
"""

from selector.version import __version__

__all__ = ["__version__"]
