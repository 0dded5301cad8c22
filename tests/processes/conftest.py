"""Grammars as fixtures."""

from collections.abc import Callable

import numpy as np
import pytest
from random_grammars import make_grammar  # tests/support/random_grammars.py

from mechbp.processes.tree.grammar import TreeGrammar


@pytest.fixture(scope="session")
def random_grammar() -> Callable[[str, int, np.random.Generator], TreeGrammar]:
    return make_grammar


@pytest.fixture(scope="session")
def paper() -> TreeGrammar:
    """The grammar behind the published figures."""
    return TreeGrammar.random(4, sigma=1.0, seed=0, recipe="paper")
