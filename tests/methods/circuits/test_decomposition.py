"""The parts make the logits, each part is that of loops, and edited tables give what an edited forward pass gives."""

import json

import numpy as np
import pytest
import torch
from brute_circuits import Weights
from random_models import in_float64, random_model, random_tokens

import mechbp
from mechbp.errors import HookError, InputError, LimitExceeded
from mechbp.methods.circuits import tables
from mechbp.methods.circuits.circuit import circuits
from mechbp.methods.circuits.decompose import decompose
from mechbp.methods.circuits.folding import folded
from mechbp.methods.circuits.tables import along_own, beside_own, drop_diagonal, keep_diagonal

KINDS = {
    "LN": {},
    "none": {"normalization_type": None},
    "RMS": {"normalization_type": "RMS"},
    "LNPre": {"normalization_type": "LNPre"},
    "bidirectional": {"attention_dir": "bidirectional"},
    "three heads, as many outputs as dimensions": {"n_heads": 3, "d_vocab_out": 8},
}


def centred(logits):
    values = logits.detach().double().numpy()
    return values - values.mean(axis=-1, keepdims=True)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_the_parts_make_the_logits(settings):
    model = random_model(**settings)
    tokens = random_tokens(model, 30)
    whole = decompose(model, tokens.numpy())
    np.testing.assert_allclose(whole.logits, centred(model(tokens)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole.logits, folded(model)(tokens), rtol=0, atol=1e-12)
    some = decompose(model, tokens, positions=[4, 1])
    np.testing.assert_allclose(some.logits, centred(model(tokens))[:, [4, 1]], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(some.positions, [4, 1])
    single = random_model(dtype=torch.float32, **settings)
    found = decompose(single, tokens)
    np.testing.assert_allclose(found.logits, centred(in_float64(single)(tokens)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.logits, centred(single(tokens)), rtol=0, atol=1e-5 * max(1, abs(found.logits).max()))


@pytest.mark.parametrize("name", ["sorting-decay-s0", "sorting-free-s0", "sorting-plain-free-s0", "sorting-heads3-s0"])
def test_the_parts_of_trained_sorters_make_their_logits(name):
    run = mechbp.load(name)
    tokens = run.process.sample(20, mechbp.rng(0, name), "test").tokens
    found = decompose(run.model, tokens)
    np.testing.assert_allclose(found.logits, folded(run.model)(torch.from_numpy(tokens)), rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.logits, centred(in_float64(run.model)(torch.from_numpy(tokens))), rtol=0, atol=1e-11)


@pytest.mark.parametrize("settings", [{}, {"normalization_type": "RMS"}, {"normalization_type": None}])
def test_every_part_is_that_of_loops(settings):
    model = random_model(**settings)
    tokens = random_tokens(model, 4)
    found = decompose(model, tokens, positions=range(1, 5))
    w = Weights(model)
    embed, place, scale = w["embed.W_E"], w["pos_embed.W_pos"], np.sqrt(3)
    bias = w["blocks.0.attn.b_O"]
    for h in range(2):
        constant = w.state.get("blocks.0.ln1.b", np.zeros(8)) @ w["blocks.0.attn.W_V"][h] + w["blocks.0.attn.b_V"][h]
        bias = bias + constant @ w["blocks.0.attn.W_O"][h]
    for example, sequence in enumerate(tokens.numpy()):
        stream = embed[sequence] + place
        for row, p in enumerate(range(1, 5)):
            values = []
            for h in range(2):
                score = np.array([w.score(stream[p], stream[s], 0, h, scale) for s in range(p + 1)])
                pattern = np.exp(score - score.max())
                pattern /= pattern.sum()
                np.testing.assert_allclose(found.patterns[example, h, row, : p + 1], pattern, rtol=0, atol=1e-12)
                assert not found.patterns[example, h, row, p + 1 :].any()
                values.append(sum(pattern[s] * w.value(stream[s], 0, h) for s in range(p + 1)))
            sigma = found.sigma[example, row]
            np.testing.assert_allclose(found.heads[example, row] * sigma, values, rtol=0, atol=1e-12)
            np.testing.assert_allclose(found.direct[example, row] * sigma, w.unembedded(embed[sequence[p]]), rtol=0, atol=1e-12)
            np.testing.assert_allclose(found.positional[example, row] * sigma, w.unembedded(place[p]), rtol=0, atol=1e-12)
            np.testing.assert_allclose(found.output_bias[example, row] * sigma, w.unembedded(bias), rtol=0, atol=1e-12)
    scales = 1
    if model.cfg.normalization_type is not None:
        scales = mechbp.capture(model, tokens, "ln_final.hook_scale")["ln_final.hook_scale"]
    np.testing.assert_allclose(found.sigma, np.broadcast_to(scales, (4, 5, 1))[:, 1:, 0], rtol=0, atol=1e-12)


def test_the_table_is_the_circuit_per_position():
    model = random_model()
    found = decompose(model, random_tokens(model, 3), positions=[4])
    np.testing.assert_allclose(found.ov, circuits(model, variant="per position").ov, rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_edited_writes_give_the_logits_of_an_edited_forward_pass(settings):
    model = random_model(**settings)
    tokens = random_tokens(model, 20)
    found = decompose(model, tokens, positions=[2, 4])
    same = found.with_writes(found.writes, scale="recomputed")
    for name in ("logits", "heads", "sigma", "residual"):
        np.testing.assert_allclose(getattr(same, name), getattr(found, name), rtol=0, atol=1e-12)

    table = torch.from_numpy(np.random.default_rng(3).normal(size=found.writes.shape))
    twin = folded(model)
    pattern = mechbp.capture(twin, tokens, "blocks.0.attn.hook_pattern")["blocks.0.attn.hook_pattern"]
    rows = table[:, torch.arange(5), tokens]
    written = torch.einsum("nhpk,hnkd->npd", pattern, rows) + twin.blocks[0].attn.b_O
    with mechbp.edit(twin, {"blocks.0.hook_attn_out": lambda _: written}):
        expected = twin(tokens)[:, [2, 4]]
    edited = found.with_writes(table.numpy(), scale="recomputed")
    np.testing.assert_allclose(edited.logits, centred(expected), rtol=0, atol=1e-12)
    np.testing.assert_allclose(edited.ov, table.numpy() @ twin.unembed.W_U.numpy(), rtol=0, atol=1e-12)

    frozen = found.with_writes(table.numpy(), scale="frozen")
    change = (table.numpy() - found.writes) @ found.unembedding
    moved = sum(found.patterns[:, h] @ change[h, np.arange(5), tokens] for h in range(model.cfg.n_heads))
    np.testing.assert_allclose(frozen.logits - found.logits, moved / found.sigma[..., None], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(frozen.sigma, found.sigma)
    norms = model.cfg.normalization_type is not None
    assert (abs(frozen.logits - edited.logits).max() > 1e-2) == norms


@pytest.mark.parametrize("head", [0, 1])
def test_a_head_that_writes_nothing_is_a_head_set_to_zero(head):
    model = random_model()
    tokens = random_tokens(model, 20)
    found = decompose(model, tokens)
    writes = found.writes.copy()
    writes[head] = 0
    twin = folded(model)  # in it, z holds no value bias

    def without(z):
        z[:, :, head] = 0
        return z

    with mechbp.edit(twin, {"blocks.0.attn.hook_z": without}):
        expected = centred(twin(tokens))
    np.testing.assert_allclose(found.with_writes(writes, scale="recomputed").logits, expected, rtol=0, atol=1e-12)


def test_edited_logit_tables_by_loops():
    model = random_model(d_vocab=9)  # tokens 7 and 8 are no outputs
    tokens = random_tokens(model, 6)
    found = decompose(model, tokens)
    np.testing.assert_allclose(found.logits_with_ov(found.ov), found.logits, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.logits_with_ov(found.ov + 3.0), found.logits, rtol=0, atol=1e-12)  # no softmax sees it
    sigma = 1 + np.arange(30.0).reshape(6, 5)
    others = (found.direct + found.positional + found.output_bias) * found.sigma[..., None]
    for diagonal, edit in ((True, keep_diagonal), (False, drop_diagonal)):
        expected = np.zeros((6, 5, 7))
        for n in range(6):
            for p in range(5):
                for s in range(p + 1):
                    t = int(tokens[n, s])
                    for o in range(7):
                        if (t == o) == diagonal:
                            expected[n, p, o] += sum(found.patterns[n, h, p, s] * found.ov[h, s, t, o] for h in range(2))
        expected += others
        for divisor in (found.sigma, sigma):
            logits = expected / divisor[..., None] + found.unembed_bias
            ours = found.logits_with_ov(edit(found.ov), sigma=None if divisor is found.sigma else sigma)
            np.testing.assert_allclose(ours, logits - logits.mean(axis=-1, keepdims=True), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(keep_diagonal(found.ov) + drop_diagonal(found.ov), found.ov)


def test_along_and_beside_a_tokens_own_direction():
    model = random_model(d_vocab=9)
    found = decompose(model, random_tokens(model, 3))
    along, beside = along_own(found.writes, found.unembedding), beside_own(found.writes, found.unembedding)
    np.testing.assert_allclose(along + beside, found.writes, rtol=0, atol=1e-14)
    for t in range(9):
        if t >= 7:
            assert not along[:, :, t].any()
            continue
        column = found.unembedding[:, t]
        np.testing.assert_allclose(along[:, :, t] @ column, found.ov[:, :, t, t], rtol=0, atol=1e-12)
        np.testing.assert_allclose(beside[:, :, t] @ column, 0, rtol=0, atol=1e-12)
        assert np.linalg.matrix_rank(np.vstack([along[:, :, t].reshape(-1, 8), column]), tol=1e-10) == 1
    unread = found.unembedding.copy()
    unread[:, 2] = 0
    assert not along_own(found.writes, unread)[:, :, 2].any() and np.isfinite(along_own(found.writes, unread)).all()


def test_many_sequences_are_one_by_one(monkeypatch):
    model = random_model()
    tokens = random_tokens(model, 7)
    whole = decompose(model, tokens)
    monkeypatch.setattr(tables, "BATCH", 3)
    np.testing.assert_allclose(decompose(model, tokens).heads, whole.heads, rtol=0, atol=1e-14)


def test_what_it_says_of_itself():
    model = random_model()
    found = decompose(model, random_tokens(model, 10), positions=[3, 1])
    frame = found.to_dataframe()
    assert len(frame) == 2 * 5 and list(frame["part"].unique()) == ["head 0", "head 1", "direct", "position", "biases"]
    sizes = frame.set_index(["position", "part"])["rms_nats"]
    np.testing.assert_allclose(sizes[1, "head 1"], np.sqrt((found.heads[:, 1, 1] ** 2).mean()))
    np.testing.assert_allclose(sizes[3, "biases"], np.sqrt(((found.output_bias[:, 0] + found.unembed_bias) ** 2).mean()))
    plain = json.loads(json.dumps(found.to_dict()))
    np.testing.assert_allclose(plain["rms_nats"]["head 1"], [sizes[3, "head 1"], sizes[1, "head 1"]])
    np.testing.assert_allclose(plain["mean_sigma"], found.sigma.mean(axis=0))
    figure = found.plot()
    assert [trace.name for trace in figure.data] == list(frame["part"].unique())
    np.testing.assert_allclose(figure.data[1].y, plain["rms_nats"]["head 1"], rtol=1e-5)
    assert list(figure.data[1].x) == [3, 1]
    assert repr(found) == "Decomposition(10 sequences, 2 positions, 2 heads, 7 outputs)"
    assert f"direct: root mean square {np.sqrt((found.direct**2).mean()):.4g} nats" in found.summary()
    assert found._repr_html_().startswith(f"<pre>{found.summary()}</pre>")


def test_models_that_are_no_sum_of_this_kind():
    for settings, reason in (
        ({"n_layers": 2}, "it has 2 blocks"),
        ({"d_mlp": 9}, "it has an MLP"),
        ({"positional_embedding_type": "alibi"}, "positions are 'alibi'"),
        ({"attn_scores_soft_cap": 4.0}, "attn_scores_soft_cap"),
    ):
        model = random_model(**settings)
        with pytest.raises(InputError, match=reason):
            decompose(model, random_tokens(model, 2))
    with pytest.raises(HookError, match="it lacks blocks.0.attn.W_O"):
        decompose(mechbp.load("topics-attention").model, torch.zeros((1, 3), dtype=torch.int64))


def test_a_forward_pass_that_is_another_is_noticed():
    class Doubled(type(random_model())):
        def __init__(self, cfg):
            super().__init__(cfg)
            self.blocks[0].hook_attn_out.register_forward_hook(lambda module, inputs, output: 2 * output)

    model = random_model()
    model.__class__ = Doubled
    with pytest.raises(HookError, match="the parts of this Doubled miss its stream by"):
        decompose(model, random_tokens(model, 2))


def test_arguments_that_do_not_fit():
    model = random_model()
    tokens = random_tokens(model, 3)
    for positions in ([5], [-1], [], [[0]], [0.5]):
        with pytest.raises(InputError, match=r"positions must be integers in 0\.\.4, at least one"):
            decompose(model, tokens, positions=positions)
    with pytest.raises(InputError, match="the model knows 0..5"):
        decompose(model, tokens + 4)
    found = decompose(model, tokens)
    with pytest.raises(InputError, match="scale must be 'frozen' or 'recomputed', got 'new'"):
        found.with_writes(found.writes, scale="new")
    for table in (found.writes[:1], np.full_like(found.writes, np.nan)):
        with pytest.raises(InputError, match=r"writes must be finite, \[head, key position, token, d_model\] = \[2, 5, 6, 8\]"):
            found.with_writes(table, scale="frozen")
    with pytest.raises(InputError, match=r"ov must be finite, \[head, key position, token, output\] = \[2, 5, 6, 7\]"):
        found.logits_with_ov(found.writes)
    for sigma in (found.sigma[:2], 0 * found.sigma, np.full_like(found.sigma, np.inf)):
        with pytest.raises(InputError, match=r"sigma must be positive, \[n, position\] = \[3, 5\]"):
            found.logits_with_ov(found.ov, sigma=sigma)


def test_large_results_are_refused(monkeypatch):
    model = random_model()
    monkeypatch.setattr("mechbp.methods.circuits.rows.MAX_NUMBERS", 2 * 5 * 6 * 8 - 1)
    with pytest.raises(LimitExceeded, match=r"`writes` or `ov` would hold 480 numbers"):
        decompose(model, random_tokens(model, 1))
    monkeypatch.setattr("mechbp.methods.circuits.rows.MAX_NUMBERS", 480)
    decompose(model, random_tokens(model, 1))
    with pytest.raises(LimitExceeded, match=r"`heads` would hold 490 numbers"):
        decompose(model, random_tokens(model, 7))
