"""The stages of the main job over a workspace: mine, train the retriever, train the policy, compare.

Scripts, the command line and the demo call these and nothing beneath them, so that a stage means the same everywhere.
They know nothing of terminals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from policies.epr import RetrieverTrainingConfig, train_retriever
from policies.mining import MiningConfig, mine
from policies.ppo import PolicyTrainingConfig, train_policy
from envs.rewards import EngineScorer
from selector.errors import TooFewExamplesError
from selector.learned.shortlist import build_shortlists
from selector.progress import SILENT, Progress
from selector.strategies.dense import NearestSelector
from selector.strategies.random import RandomSelector
from selector.strategies.retriever import RetrieverSelector
from selector.types import Example
from selector.workspace import Workspace
