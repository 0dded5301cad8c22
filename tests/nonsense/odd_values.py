"""What a hurried user may pass: odd values by kind of argument, and the kind of every parameter name of the public interface."""

import functools
from pathlib import Path

import numpy as np
import torch


class Hostile:
    """Raises whatever is asked of it."""

    def __repr__(self):
        raise RuntimeError("no repr")

    def __array__(self, *_, **__):
        raise RuntimeError("no array")

    def __len__(self):
        raise RuntimeError("no length")


def odd(*values):
    """Makers of values, so that each call gets its own."""
    return tuple(
        value if callable(value) and getattr(value, "maker", False) else functools.partial(_same, value) for value in values
    )


def _same(value):
    return value


def maker(function):
    function.maker = True
    return function


@maker
def a_generator():
    return (x for x in [1])


@maker
def torch_linear():
    return torch.nn.Linear(2, 2)


ANY = odd(
    None, True, 3, -1, 2.5, float("nan"), 1j, "x", "", b"x", [], [None], {}, {"a": 1}, Hostile(), object, a_generator, np.zeros(0)
)
COUNT = (
    *ANY,
    *odd(0, 1, 2.0, np.int8(2), np.float32(1), 10**13, 10**30, 10**5000, -(10**5000), float("inf"), [2], (2, 3), (3, 2), "2"),
)
NUMBER = (
    *ANY,
    *odd(
        0,
        1,
        1e-300,
        1e300,
        1e308,
        float("inf"),
        -float("inf"),
        10**400,
        np.float16(0.5),
        "0.5",
        [0.5],
    ),
)
CHOICE = (*ANY, *odd("X" * 5000, "a\nb\nc\nd", np.array(["x"]), ["x"], ("x",)))
FLAG = (*ANY, *odd(False, 0, 1, "yes", np.bool_(True)))
TEXT = (*ANY, *odd("a\nb\nc\nd\ne", "X" * 5000, "\x00", "../x", "…"))
REALS = (
    *ANY,
    *odd(
        [[1], [1, 2]],
        np.ones((2, 2)),
        np.full((3, 3, 3), np.nan),
        np.full((2, 2, 2), 0.25 + 0.5j),
        np.full((2, 2, 2), -1.0),
        np.full((2, 3, 4), 0.1),
        np.full((4, 4), 0.25),
        np.full((4, 4), np.inf),
        np.array([["a"]]),
        np.empty((0, 0, 0)),
        torch.eye(3).to_sparse(),
        torch.empty(3, 3, device="meta"),
        torch.full((4, 4), 0.25),
    ),
)
TOKENS = (
    *ANY,
    *odd(
        [[0, 1], [0]],
        [[0, 1, 2, 3]],
        np.zeros((2, 4)),
        np.zeros((0, 4), int),
        np.zeros((3, 0), int),
        np.zeros(4, int),
        np.zeros((2, 4, 1), int),
        np.full((2, 4), 99),
        np.full((2, 4), -1),
        np.full((2, 4), 2**64 - 1, np.uint64),
        np.full((2, 4), 2**70, object),
        np.asfortranarray(np.arange(12).reshape(3, 4) % 3),
        np.arange(12).reshape(4, 3).T % 3,
        np.zeros((2, 4), "S1"),
        np.ones((2, 4), bool),
        np.zeros((2, 99), int),
        torch.zeros((4, 4), dtype=torch.int64).to_sparse(),
        torch.zeros((4, 4), dtype=torch.int64, device="meta"),
        torch.zeros((4, 3), dtype=torch.int64).T,
        torch.zeros((2, 4)),
    ),
)
RNG = (*ANY, *odd(0, np.random.RandomState(0), np.random.PCG64(0), np.random.default_rng))
HOOKS = (
    *ANY,
    *odd(
        [5],
        [b"hook_embed"],
        ["hook_embed", None],
        "blocks.9.hook_z",
        "**",
        "[",
        "hook_embed\nx",
        {"hook_embed": 1},
        {"hook_embed"},
    ),
)
MODEL = (*ANY, *odd(torch_linear, torch.zeros(2)))
PROCESS = ANY
FUNCTION = (
    *ANY,
    *odd(
        len,
        lambda: None,
        lambda *_: None,
        lambda *_: "x",
        lambda x, *_: 1 / 0,
        torch.sum,
        lambda x, *_: x,
    ),
)
MAPPING = (
    *ANY,
    *odd(
        {1: 2},
        {None: None},
        {"hook_embed": 3},
        {"x": np.zeros((2, 2))},
        {"x": [[1], [1, 2]]},
        {"x": np.full((120, 1), np.nan)},
    ),
)
PATH = (*ANY, *odd("no/such/folder", "\x00", "a" * 5000, Path("/proc/nothing"), b"x", "/dev/null/x"))
OPTIONAL_SEQUENCE = (*ANY, *odd([0], [0, 0], [99], [True], [0.5], np.array([1, 2]), (0, 1), [(0, 1)], [[0, 1]]))

DRAWN = odd({}, {"nothing": 1}, {"measure": "x"})
NAMES = (
    (COUNT, "n length depth filter_level vocab_size seed window gap batch_size layer position"),
    (COUNT, "n_topics words_per_topic shared n_words n_fit dims step knots"),
    (COUNT, "permutations resamples chains burn_in draws grammars pairs inputs budget first"),
    (NUMBER, "sigma ambiguity x p q share alpha n_beta localization step_size curvature loss_limit floor"),
    (CHOICE, "recipe evidence split direction message task variant sampler kind sites"),
    (CHOICE, "answer activation subspace eraser reference controls device"),
    (FLAG, "repeats heads only_own centre_gradients vectorise trust"),
    (TEXT, "name where title lead slug statement verdict measured control holds partly labels"),
    (TEXT, "figure item id caption alt"),
    (REALS, "rules root_prior transitions start word_given_topic beliefs penalties mask_rates"),
    (TOKENS, "tokens clean corrupted observed groups"),
    (OPTIONAL_SEQUENCE, "key_positions query_positions positions batches"),
    (RNG, "rng"),
    (HOOKS, "patterns hooks hook"),
    (MODEL, "model control_model"),
    (PROCESS, "process grammar tree family"),
    (FUNCTION, "metric loss method reading"),
    (MAPPING, "edits targets own baselines parameters runs seeds numbers"),
    (DRAWN, "drawn_as"),
    (PATH, "folder root path name_or_path"),
)
KIND_OF = {name: kind for kind, names in NAMES for name in names.split()}
"""Parameter name -> makers of odd values."""
