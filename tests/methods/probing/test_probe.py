"""Probes: exact on linear targets, equal to scikit-learn, blind to shuffled targets, split by sequence, in the right order."""

import copy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

import mechbp
from mechbp.errors import HookError, InputError, TooFewSequences
from mechbp.methods.probing.grid import ProbeGrid, ProbeScores
from mechbp.methods.probing.logistic import fit_logistic
from mechbp.methods.probing.probe import probe
from mechbp.methods.probing.ridge import Spectrum, fit_ridge
from mechbp.methods.probing.targets import split_sequences
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.shared_bootstrap import Resampling
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.randomness import rng

N, POSITIONS, D = 4000, 8, 12


class FeatureModel(nn.Module):
    """Shows fixed random features of the whole sequence at hook "a", and of the token at the position only at hook "b"."""

    def __init__(self, seed: int = 0, d: int = D) -> None:
        super().__init__()
        draw = np.random.default_rng(seed)
        self.whole = torch.tensor(draw.normal(size=(4 * POSITIONS, POSITIONS, d)), dtype=torch.float64)
        self.local = torch.tensor(draw.normal(size=(4, d)), dtype=torch.float64)
        self.hook_dict = {"a": nn.Identity(), "b": nn.Identity()}
        self.points = nn.ModuleList(self.hook_dict.values())
        self.cfg = SimpleNamespace(n_ctx=POSITIONS)
        self.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        one_hot = nn.functional.one_hot(tokens, 4).double()
        flat = one_hot.reshape(len(tokens), -1)
        wide = torch.cos(3 * torch.einsum("bf,fpd->bpd", flat, self.whole))
        self.hook_dict["b"](one_hot @ self.local)
        return self.hook_dict["a"](wide)

    def run_with_hooks(self, tokens: Tensor, fwd_hooks: list) -> Tensor:
        return self(tokens)

    def run_with_cache(self, tokens: Tensor) -> tuple[Tensor, dict]:
        raise NotImplementedError


TOKENS = np.random.default_rng(1).integers(0, 4, size=(N, POSITIONS))


def linear_beliefs(model: FeatureModel, position: int, nodes: int = 2, q: int = 3) -> np.ndarray:
    """Beliefs that are exactly linear in hook "a" at one position, [n, nodes, q]."""
    seen: list[Tensor] = []
    handle = model.hook_dict["a"].register_forward_hook(lambda *a: seen.append(a[2]))
    model(torch.tensor(TOKENS))
    handle.remove()
    features = seen[0][:, position].numpy()
    maps = np.random.default_rng(9).uniform(-1, 1, size=(D, nodes, q - 1)) / (2 * D * q)
    first = 1 / q + np.einsum("nd,djq->njq", features, maps)
    return np.concatenate([first, 1 - first.sum(axis=2, keepdims=True)], axis=2)


def own_nodes(targets: dict, positions: int = POSITIONS) -> dict:
    """The node above each position, where all positions stand below equally many nodes."""
    return {name: np.arange(positions) * target.shape[1] // positions for name, target in targets.items()}


def run(targets: dict, **options):
    return probe(FeatureModel(), TOKENS, targets, options.pop("hooks", ["a", "b"]), rng=rng(0), **{"resamples": 50, **options})


def test_exactly_linear_beliefs_are_read_exactly() -> None:
    grid = run({"x": linear_beliefs(FeatureModel(), 2)})
    np.testing.assert_allclose(grid.r2["x"][0, 2], 1, atol=1e-10)
    np.testing.assert_allclose(grid.kl_nats["x"][0, 2], 0, atol=1e-6)
    np.testing.assert_array_equal(grid.accuracy["x"][0, 2], 1)
    assert grid.r2["x"][0, 0].max() < 0.999 and grid.r2["x"][1].max() < 0.9
    shuffled = grid.controls["shuffled"].cells["r2"]["x"].mean
    assert shuffled.shape == (2, POSITIONS, 2) and np.abs(shuffled).max() <= 0.02


def test_tokens_control_equals_a_token_probe_and_random_weights_are_reported() -> None:
    grid = run({"x": linear_beliefs(FeatureModel(), 2)}, control_model=FeatureModel(5), penalties=(1e-9,))
    tokens, random = (grid.interval("r2", "x", source).mean for source in ("tokens", "random_init"))
    np.testing.assert_allclose(tokens[0], grid.r2["x"][1], atol=1e-6)  # hook "b" holds the token and nothing else
    np.testing.assert_array_equal(tokens[0], tokens[1])
    assert random[0, 2].max() < 0.999
    np.testing.assert_allclose(random[1], tokens[1], atol=1e-6)


def test_a_single_control_may_be_named_without_a_list() -> None:
    targets = {"x": linear_beliefs(FeatureModel(), 2)}
    for name in ("shuffled", "tokens"):
        plain, listed = (run(targets, hooks="b", controls=controls) for controls in (name, [name]))
        assert list(plain.controls) == [name] and plain.to_dict() == listed.to_dict()


def test_a_probe_of_noise_finds_nothing_although_it_fits() -> None:
    noise = np.random.default_rng(3).dirichlet(np.ones(4), size=(N, 2))
    grid = run({"x": noise}, hooks=["a"])
    assert np.abs(grid.r2["x"]).max() < 0.03
    interval = grid.interval("r2", "x")
    assert (interval.low <= interval.mean).all() and (interval.mean <= interval.high).all()


@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 1.0])
def test_ridge_equals_scikit_learn(penalty: float) -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(300, 20)) @ draw.normal(size=(20, 20)) + draw.normal(size=20)
    targets = draw.dirichlet(np.ones(4), size=(300, 3)).transpose(2, 1, 0) + 0.01 * features[:, 0]
    spectrum = Spectrum.of(features[:200])
    fit = fit_ridge(spectrum, targets[..., :200], spectrum.rotate(features[200:]), targets[..., 200:], [penalty])
    ours = fit.predict(spectrum.rotate(features[200:]))
    for node in range(3):
        peer = Ridge(alpha=fit.penalty[node]).fit(features[:200], targets[:, node, :200].T)
        np.testing.assert_allclose(ours[:, node].T, peer.predict(features[200:]), rtol=0, atol=1e-8)


def test_features_of_very_different_sizes_keep_ridge_exact() -> None:
    """Squaring them, as a Gram matrix does, would leave the smallest at the mercy of rounding: an error of 1e-8 here."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(400, 30)) * np.logspace(0, -6, 30) @ np.linalg.qr(draw.normal(size=(30, 30)))[0]
    targets = draw.dirichlet(np.ones(4), size=(400, 2)).transpose(2, 1, 0)
    spectrum = Spectrum.of(features[:200])
    fit = fit_ridge(spectrum, targets[..., :200], spectrum.rotate(features[200:]), targets[..., 200:], [1e-9])
    ours = fit.predict(spectrum.rotate(features[200:]))
    for node in range(2):
        peer = Ridge(alpha=fit.penalty[node], solver="svd").fit(features[:200], targets[:, node, :200].T)
        np.testing.assert_allclose(ours[:, node].T, peer.predict(features[200:]), rtol=0, atol=1e-10)


def test_the_penalty_with_the_least_held_out_error_is_chosen_per_node() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(120, 30))
    targets = np.stack([0.5 + 0.01 * features[:, 0], 0.5 + 0.3 * draw.normal(size=120)])[None]
    spectrum, grid = Spectrum.of(features[:60]), (1e-6, 1e-2, 1.0, 10.0)
    held = spectrum.rotate(features[60:]), targets[..., 60:]
    fit = fit_ridge(spectrum, targets[..., :60], *held, grid)
    errors = []
    for penalty in grid:
        one = fit_ridge(spectrum, targets[..., :60], *held, [penalty])
        errors.append(np.square(one.predict(held[0]) - held[1]).sum(axis=(0, 2)))
    np.testing.assert_allclose(fit.penalty, spectrum.scale * np.array(grid)[np.argmin(errors, axis=0)])
    assert fit.penalty[0] < fit.penalty[1]


@pytest.mark.parametrize("sharpness", [1.0, 8.0])
def test_logistic_equals_scikit_learn(sharpness: float) -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(800, 6)) * [1, 2, 1, 0.5, 1, 1] + 3
    scores = sharpness * np.einsum("nd,dqj->qjn", features - 3, draw.normal(size=(6, 4, 3))) + draw.gumbel(size=(4, 3, 800))
    symbols = scores.argmax(axis=0)
    spectrum = Spectrum.of(features)
    fit = fit_logistic(spectrum, np.eye(4)[:, symbols])
    ours = fit.predict(spectrum.rotated)
    assert fit.converged
    for node in range(3):
        peer = LogisticRegression(C=1 / fit.penalty, max_iter=5000, tol=1e-8).fit(features, symbols[node])
        theirs = peer.predict_proba(features).T
        truth = symbols[node], np.arange(800)
        assert abs(np.log(ours[:, node][truth]).mean() - np.log(theirs[truth]).mean()) < 1e-3
        assert np.abs(ours[:, node] - theirs).mean() < 2e-3  # nearly separable classes fix the far tail of weights only weakly


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_probed(dtype: torch.dtype, tiny_encoder) -> None:
    tokens = np.random.default_rng(0).integers(0, 4, size=(1000, 4))
    call = partial(probe, tokens=tokens, targets={"x": np.eye(4)[tokens]}, hooks="blocks.1.hook_resid_post", resamples=20)
    full = call(tiny_encoder, rng=rng(0))
    half_model = copy.deepcopy(tiny_encoder).to(dtype)
    half = call(half_model, rng=rng(0), control_model=half_model)
    assert full.r2["x"].max() > 0.9
    np.testing.assert_allclose(half.r2["x"], full.r2["x"], atol=0.05)


def test_symbol_probes_name_symbols() -> None:
    targets = {"token": TOKENS, "pair": TOKENS[:, ::2]}
    grid = run(targets, own=own_nodes(targets))
    np.testing.assert_array_equal(grid.at_own("accuracy", "token").mean[1], 1)  # hook "b" shows the token itself
    assert grid.own_mean("cross_entropy_nats", "token").mean[1] < 0.05
    others = grid.accuracy["token"][1][~np.eye(POSITIONS, dtype=bool)]
    assert others.max() < 0.4 and grid.interval("accuracy", "token", "shuffled").mean.max() < 0.4
    assert "r2" not in grid.model.cells


def test_splits_by_sequence_never_leak() -> None:
    tokens = np.random.default_rng(0).integers(0, 3, size=(400, 4))  # 81 distinct sequences, so nearly all have copies
    split = split_sequences(tokens, rng(3))
    parts = [{tuple(row) for row in tokens[part]} for part in (split.train, split.validation, split.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(400))
    copies = [tuple(row) for row in tokens[split.test]]
    assert len(set(copies)) == split.test_groups.max() + 1 == len(set(zip(copies, split.test_groups, strict=True)))


def test_the_tokens_control_takes_tokens_of_any_size() -> None:
    """One-hot over this vocabulary would take 12 GB; its few tokens that occur need no more than the same with small numbers."""
    large, targets = TOKENS * 16_000, {"x": linear_beliefs(FeatureModel(), 2), "s": TOKENS}
    model = FeatureModel()
    narrow = FeatureModel()
    narrow.forward = lambda tokens: FeatureModel.forward(narrow, tokens // 16_000)
    grids = [
        probe(shown, tokens, targets, "b", rng=rng(0), controls=("tokens",), resamples=20)
        for shown, tokens in ((model, TOKENS), (narrow, large))
    ]
    for metric, target in (("r2", "x"), ("accuracy", "s")):
        small, big = (grid.interval(metric, target, "tokens").mean for grid in grids)
        np.testing.assert_array_equal(small, big)


def test_more_tokens_than_training_sequences_are_refused_before_anything_is_computed() -> None:
    tokens = np.random.default_rng(0).permutation(60)[:, None] + np.arange(POSITIONS)
    model = FeatureModel()
    model.run_with_hooks = None  # the model is not even asked
    with pytest.raises(TooFewSequences, match="the control 'tokens' has 67 features at position 0, one per token, but only 36"):
        probe(model, tokens, {"x": np.full((60, 1, 2), 0.5)}, "a", rng=rng(0))


class MarkedModel(nn.Module):
    """Shows, at its only hook, which tree a sequence comes from: the symbol of its first position, one-hot."""

    def __init__(self) -> None:
        super().__init__()
        self.hook_dict, self.cfg = nn.ModuleDict({"a": nn.Identity()}), SimpleNamespace(n_ctx=4)
        self.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.hook_dict["a"](nn.functional.one_hot(tokens[:, :1], 60).double().expand(-1, 4, -1))

    def run_with_hooks(self, tokens: Tensor, fwd_hooks: list) -> Tensor:
        return self(tokens)

    def run_with_cache(self, tokens: Tensor) -> tuple[Tensor, dict]:
        raise NotImplementedError


def marked_copies(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Copies of trees that differ behind their first position, their trees, and beliefs drawn at random for every tree."""
    draw = np.random.default_rng(0)
    tree = np.repeat(np.arange(len(sizes)), sizes)
    tokens = np.hstack([tree[:, None], draw.integers(0, 60, size=(len(tree), 3))])
    return tokens, tree, {"x": draw.dirichlet(np.ones(3), size=(len(sizes), 1))[tree]}


def test_what_only_names_the_tree_is_not_read_where_its_copies_share_a_part() -> None:
    tokens, tree, targets = marked_copies(np.full(60, 30))
    call = partial(probe, MarkedModel(), tokens, targets, "a", rng=rng(0), controls=("shuffled",), resamples=50)
    assert call().r2["x"].min() > 0.9  # every copy is a sequence of its own, and its tree was fitted on others
    grid = call(groups=tree)
    assert grid.r2["x"].max() < 0.1 and grid.interval("r2", "x", "shuffled").mean.max() < 0.1
    assert (grid.n_train, grid.n_validation, grid.n_test) == (36 * 30, 12 * 30, 12 * 30)
    found = grid.interval("kl_nats", "x")  # of 12 trees: 360 independent examples would make it 5 times narrower
    assert ((found.high - found.low) / found.mean).min() > 0.5


def test_groups_never_leak_and_join_where_they_share_a_sequence() -> None:
    tokens, tree, _ = marked_copies(np.random.default_rng(1).integers(1, 9, size=60))
    tokens[tree == 7] = tokens[np.flatnonzero(tree == 3)[0]]
    split = split_sequences(tokens, rng(0), tree)
    parts = [set(np.where(tree[part] == 7, 3, tree[part])) for part in (split.train, split.validation, split.test)]
    assert [len(part) for part in parts] == [35, 12, 12] and len(set.union(*parts)) == 59
    assert split.test_groups.max() == 11 and split.n_distinct_train == len(np.unique(tokens[split.train], axis=0))
    many = tree * 1000 - 5  # the numbers themselves mean nothing
    np.testing.assert_array_equal(split.test, split_sequences(tokens, rng(0), many).test)


def test_one_group_per_sequence_is_what_no_groups_are() -> None:
    tokens = np.random.default_rng(0).integers(0, 3, size=(400, 4))
    sequence = np.unique(tokens, axis=0, return_inverse=True)[1].reshape(-1)
    with_groups, without = split_sequences(tokens, rng(3), sequence), split_sequences(tokens, rng(3))
    for name in ("train", "validation", "test", "test_groups", "n_distinct_train"):
        np.testing.assert_array_equal(getattr(with_groups, name), getattr(without, name))


@pytest.mark.parametrize("sizes", [np.full(60, 5), np.random.default_rng(1).integers(1, 9, size=60)])
def test_shuffling_moves_whole_groups(sizes: np.ndarray) -> None:
    tokens, tree, _ = marked_copies(sizes)
    split = split_sequences(tokens, rng(0), tree)
    for part in (split.train, split.test):
        order = split.shuffle(part, rng(1))
        np.testing.assert_array_equal(np.sort(order), np.arange(len(part)))
        lender = tree[part][order]
        assert (lender == tree[part]).mean() < 0.2
        switches = (np.diff(lender) != 0) & (np.diff(tree[part]) == 0)
        assert not switches.any() if len(set(sizes)) == 1 else switches.sum() <= 2 * len(set(tree[part]))


def test_as_many_features_as_sequences_are_refused() -> None:
    few = np.random.default_rng(0).integers(0, 4, size=(40, POSITIONS))
    beliefs = np.full((40, 1, 2), 0.5)
    with pytest.raises(InputError, match="30 features but only 2"):
        probe(FeatureModel(d=30), few, {"x": beliefs}, ["a"], rng=rng(0))


def test_permuting_symbols_permutes_nothing_but_their_names() -> None:
    beliefs = linear_beliefs(FeatureModel(), 1)
    plain, permuted = (run({"x": belief}, hooks=["a"], controls=()) for belief in (beliefs, beliefs[..., [2, 0, 1]]))
    np.testing.assert_allclose(plain.r2["x"], permuted.r2["x"], atol=1e-10)
    np.testing.assert_allclose(plain.kl_nats["x"], permuted.kl_nats["x"], atol=1e-6)
    np.testing.assert_array_equal(plain.accuracy["x"], permuted.accuracy["x"])


def test_targets_are_probed_alike_alone_and_together_and_nodes_keep_their_order() -> None:
    beliefs = linear_beliefs(FeatureModel(), 1, nodes=4)
    other = np.random.default_rng(0).dirichlet(np.ones(2), size=(N, 1))
    both = run({"x": beliefs, "y": other, "z": beliefs[:, ::-1]}, hooks=["a"], controls=())
    alone = run({"x": beliefs}, hooks=["a"], controls=())
    np.testing.assert_allclose(both.r2["x"], alone.r2["x"], atol=1e-12)
    np.testing.assert_allclose(both.r2["z"], alone.r2["x"][..., ::-1], atol=1e-12)
    targets = {"x": beliefs, "y": other}
    own = run(targets, hooks=["a"], controls=(), own=own_nodes(targets), only_own=True)
    for position in range(POSITIONS):
        np.testing.assert_allclose(own.r2["x"][0, position, position // 2], alone.r2["x"][0, position, position // 2], atol=1e-12)
    assert np.isnan(own.r2["x"]).sum() == POSITIONS * 3 and not np.isnan(own.r2["y"]).any()


def test_averages_over_ancestors_pool_errors_and_resample_sequences() -> None:
    beliefs = linear_beliefs(FeatureModel(), 1)
    grid = run({"x": beliefs}, hooks=["a"], own=own_nodes({"x": beliefs}))
    found = grid.own_mean("r2", "x")
    parts = grid.model.per_example["x"]
    np.testing.assert_allclose(found.mean, 1 - parts["squared_error"].sum(axis=1) / parts["squared_total"].sum(axis=1))
    own = [grid.accuracy["x"][0, position, position // 4] for position in range(POSITIONS)]
    np.testing.assert_allclose(grid.own_mean("accuracy", "x").mean, np.mean(own), atol=1e-12)
    np.testing.assert_array_equal(grid.at_own("accuracy", "x").mean[0], own)
    assert (found.low < found.mean).all() and (found.mean < found.high).all()


def test_a_constant_target_has_no_r2_and_ties_count_as_right() -> None:
    grid = run({"x": np.full((N, 1, 4), 0.25)}, hooks=["b"])
    assert np.isnan(grid.r2["x"]).all() and grid.to_dict()["cells"]["model"]["r2"]["x"]["mean"][0][0][0] is None
    np.testing.assert_array_equal(grid.accuracy["x"], 1)
    np.testing.assert_allclose(grid.kl_nats["x"], 0, atol=1e-6)


def test_the_table_holds_every_probe_with_its_controls() -> None:
    grid = run({"x": linear_beliefs(FeatureModel(), 2), "s": TOKENS})
    frame = grid.to_dataframe()
    assert len(frame) == 2 * POSITIONS * (2 + POSITIONS)
    row = frame.query("hook == 'b' and position == 3 and target == 'x' and node == 1").iloc[0]
    assert row.r2 == grid.r2["x"][1, 3, 1] and row.r2_shuffled == grid.interval("r2", "x", "shuffled").mean[1, 3, 1]
    assert {"own", "cells"} <= set(grid.to_dict()) and "cells" not in grid.to_dict(cells=False)


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        ({}, {}, "no targets"),
        ({"x": np.zeros((N, 2, 3))}, {}, "'x' must hold probabilities"),
        ({"x": np.full((N - 1, 2, 2), 0.5)}, {}, "'x' has 3999 examples"),
        ({"x": np.full((N, 2), 0.5)}, {}, "'x' must have shape"),
        ({"x": -TOKENS}, {}, "symbols >= 0"),
        ({"x": TOKENS + 10**9}, {}, r"'x' holds the symbol 1000000003, .* 238,419 GiB one-hot; at most 4 are allowed"),
        ({"x": np.full((N, 0, 3), 1 / 3)}, {}, r"'x' must have shape \[n, nodes >= 1, q >= 2\], got \[4000, 0, 3\]"),
        ({"x": TOKENS[:, :0]}, {}, "at least one node"),
        ([TOKENS], {}, "targets must have names, got a list; pass {name: array"),
        (TOKENS, {}, "targets must have names, got a ndarray"),
        ({"x": TOKENS}, {"controls": "chance"}, "unknown control 'chance'"),
        ({"x": TOKENS[:, :3]}, {"only_own": True}, "with a node of its own"),
        ({"x": TOKENS[:, :3]}, {"own": {"x": np.full(POSITIONS, 3)}}, r"own nodes of 'x' must lie in 0\.\.2"),
        ({"x": TOKENS[:, :3]}, {"own": {"y": np.zeros(POSITIONS, int)}}, "one per position"),
        ({"x": TOKENS}, {"controls": ("chance",)}, "unknown control 'chance'"),
        ({"x": TOKENS}, {"penalties": (0.0,)}, "penalties must be finite numbers above 0"),
        (
            {"x": TOKENS},
            {"groups": np.zeros(N - 1, int)},
            r"groups must be integers \[4000\], one per example, got int64 \[3999\]",
        ),
        ({"x": TOKENS}, {"groups": np.zeros(N)}, "groups must be integers"),
        ({"x": TOKENS}, {"groups": np.arange(N) // 1000}, "1 groups .those that share a sequence count as one. cannot be"),
    ],
)
def test_wrong_calls_are_refused(targets: dict, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(targets, **options)


@pytest.mark.parametrize("hook", ["hook_pattern", "hook_attn_scores"])
def test_attention_is_no_activation_of_a_position_even_with_as_many_heads(hook: str) -> None:
    config = ModelConfig(n_layers=1, n_heads=4, d_model=8, d_mlp=8)
    model = build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=4, seed=0)
    tokens = np.random.default_rng(0).integers(0, 4, size=(400, 4))
    for hooks in (f"blocks.0.attn.{hook}", ["blocks.*.hook_resid_post", "blocks.*.attn.*"]):
        with pytest.raises(InputError, match=r"attn.hook_.* is \[n, head, query, key\], which is no activation of one position"):
            probe(model, tokens, {"x": tokens}, hooks, rng=rng(0))


def test_unknown_hooks_are_refused() -> None:
    with pytest.raises(HookError, match="No hook matches"):
        run({"x": TOKENS}, hooks=["c"])


def test_copies_of_one_sequence_say_nothing_of_the_spread() -> None:
    values = rng(0, "copies").random((3, 50))
    one, two = (Resampling.draw(np.arange(50) % groups, 20, rng(0, "constant")).mean(values) for groups in (1, 2))
    assert np.isfinite(one.mean).all() and np.isnan([one.low, one.high]).all()
    assert (two.low < two.high).all()


def test_a_target_that_is_constant_but_for_rounding_has_no_r2() -> None:
    resampling = Resampling.draw(np.arange(50), 20, rng(0, "constant"))
    errors, totals = (rng(0, name).random((3, 50)) * 1e-32 for name in ("errors", "totals"))
    assert np.isnan(resampling.explained(errors, totals).mean).all()
    assert not np.isnan(resampling.explained(errors, totals + 1e-6).mean).any()


def test_the_summary_tells_the_cell_that_beats_its_controls_and_not_the_one_where_they_are_as_good():
    run = mechbp.load("tree-mlm-k0")
    tokens = run.process.sample(400, rng(0, "summary")).tokens
    leaves = np.eye(run.process.vocab_size)[tokens[:, :2]]  # each is its own token: read everywhere, at its own position by all
    parents = run.process.beliefs(tokens).upward[3][:, :1]
    targets = {"leaf": leaves, "parent": parents}
    grid = probe(run.model, tokens, targets, hooks=["blocks.0.hook_resid_post"], rng=rng(0, "fit"))
    told = dict(line.split(": ", 1) for line in grid.summary().splitlines()[1:])
    place = int(told["leaf"].split("position ")[1].split(",")[0])
    node = int(told["leaf"].split("node ")[1].split(";")[0])
    assert place != node and told["leaf"].startswith(f"mean r2 {np.nanmean(grid.r2['leaf']):.3g}; farthest ahead of its controls")


def test_the_best_cell_is_the_farthest_ahead_of_its_strongest_control():
    """Strong controls in turn: the cell that scores most, 0.9, is ahead of the weaker one alone."""
    cells = np.array([[[0.9], [0.5], [0.4]]])
    controls = {"first": [0.8, 0.1, 0.05], "second": [0.0, 0.05, np.nan]}

    def scores(values):
        interval = Interval(values, values - 0.01, values + 0.01, 9)
        return ProbeScores({"r2": {"belief": interval}}, {}, {})

    grid = ProbeGrid(
        hooks=("hook_embed",),
        n_positions=3,
        own={"belief": np.full(3, -1)},
        n_nodes={"belief": 1},
        model=scores(cells),
        controls={name: scores(np.array(values).reshape(cells.shape)) for name, values in controls.items()},
        penalty={"belief": np.ones(cells.shape)},
        n_train=5,
        n_validation=2,
        n_test=9,
        floor=1e-12,
        unconverged=0,
    )
    told = grid.summary().splitlines()[1]
    assert told.startswith(
        "belief: mean r2 0.6; farthest ahead of its controls 0.5 [0.49, 0.51] at hook_embed, position 1, node 0"
    )
    assert told.endswith("controls: first 0.1, second 0.05")


@pytest.mark.parametrize("n", [4, 5, 7])
def test_four_targets_are_told_and_the_others_counted(n):
    tokens = TOKENS[:200]
    targets = {f"target {i}": np.eye(4)[tokens[:, i : i + 1]] for i in range(n)}
    lines = probe(FeatureModel(), tokens, targets, "*", rng=rng(0, "many"), controls=(), resamples=10).summary().splitlines()
    assert sum(line.startswith("target ") for line in lines) == 4
    assert [line for line in lines if "more" in line] == (
        [f"and {n - 4} more targets; to_dataframe() has them all"] if n > 4 else []
    )


def test_a_mean_of_equal_values_has_no_width_however_unequal_the_groups():
    groups = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 30])
    found = Resampling.draw(groups, 50, rng(0, "groups")).mean(np.full((2, len(groups)), 0.75))
    for end in (found.mean, found.low, found.high):
        np.testing.assert_allclose(end, 0.75, rtol=0, atol=1e-6)
