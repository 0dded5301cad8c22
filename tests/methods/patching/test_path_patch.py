"""Path patching: exact against a transformer written out as a graph of components, and the laws of edges."""

import itertools

import numpy as np
import pytest
import torch

from mechbp.errors import HookError, InputError
from mechbp.hooks import capture, edit
from mechbp.methods.patching.edges import DirectPath, Receiver, Sender, sender_name
from mechbp.methods.patching.patch import patch
from mechbp.methods.patching.path_patch import path_patch
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig

LAYERS, HEADS, LENGTH = 3, 2, 5
BOUND = {torch.float32: 1e-5, torch.float64: 1e-10}
EVERYWHERE = (*(Receiver(reads, layer) for layer in range(LAYERS) for reads in ("q", "k", "v", "mlp")), Receiver("final"))


def tokens_for(n, seed):
    return torch.randint(0, 4, (n, LENGTH), generator=torch.Generator().manual_seed(seed))


CLEAN, CORRUPTED = tokens_for(4, 1), tokens_for(4, 2)


def metric(logits):
    """Nonlinear, of all positions, weighted by position and example, so that a mixed-up order shows."""
    weights = torch.arange(1.0, len(logits) + 1, dtype=logits.dtype)
    return logits.log_softmax(dim=-1)[:, :, 1] @ torch.arange(1.0, LENGTH + 1, dtype=logits.dtype) / 5 * weights


def linear(logits):
    return logits[:, -1, 1] - 2 * logits[:, 2, 0]


def model_for(seed=0, *, d_mlp=24, normalization="LN", attention="bidirectional", dtype=torch.float64):
    config = ModelConfig(LAYERS, HEADS, 16, d_mlp, "gelu", normalization, attention)
    model = build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=LENGTH, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():  # biases and gains that would show if they were counted twice or left out
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.to(dtype)


# the same transformer as a graph: every component is a function of the sum of what it is told


def mixed(x, w, b):
    return torch.einsum("npd,hde->nphe", x, w) + b


class Graph:
    """A forward pass in which the sum that a receiver reads may hold the sender's term of another run; no hooks anywhere."""

    def __init__(self, model, frozen):
        self.model, self.frozen = model, frozen

    def norm(self, layer_norm, told, without):
        if not hasattr(layer_norm, "w"):
            return told
        reference = without if self.frozen else told
        scale = (reference.var(dim=-1, correction=0, keepdim=True) + layer_norm.eps).sqrt()
        return (told - told.mean(dim=-1, keepdim=True)) / scale * layer_norm.w + layer_norm.b

    def run(self, tokens, told=None, path=None):
        """Outputs of all components by sender; `told` is the sender's change, sent along the edges of `path` alone."""
        model, receivers = self.model, path.receivers if path else ()
        outputs = {("embedding", None, None): model.embed.W_E[tokens] + model.pos_embed.W_pos[: tokens.shape[1]]}

        def reads(name, layer, head=None):
            live = sum(outputs.values())
            wanted = any(r.reads == name and r.layer == layer and r.head in (None, head) for r in receivers)
            return (live + told if wanted else live), live

        for layer, block in enumerate(model.blocks):
            attention, new = block.attn, {}
            for head in range(HEADS):
                q, k, v = (
                    mixed(
                        self.norm(block.ln1, *reads(name, layer, head)),
                        getattr(attention, f"W_{name.upper()}")[head : head + 1],
                        getattr(attention, f"b_{name.upper()}")[head : head + 1],
                    )[:, :, 0]
                    for name in "qkv"
                )
                scores = q @ k.transpose(1, 2) / attention.attn_scale
                if model.cfg.attention_dir == "causal":
                    scores = scores.masked_fill(torch.ones(LENGTH, LENGTH).triu(1).bool(), -torch.inf)
                new["attention", layer, head] = scores.softmax(dim=-1) @ v @ attention.W_O[head]
            outputs |= new
            outputs["bias", layer, None] = attention.b_O.expand_as(next(iter(new.values())))
            if not model.cfg.attn_only:
                hidden = self.norm(block.ln2, *reads("mlp", layer)) @ block.mlp.W_in + block.mlp.b_in
                outputs["mlp", layer, None] = block.mlp.act_fn(hidden) @ block.mlp.W_out + block.mlp.b_out
        final = self.norm(getattr(model, "ln_final", None), *reads("final", None))
        return outputs, final @ model.unembed.W_U + model.unembed.b_U

    def patched(self, clean, corrupted, path):
        sender = path.sender
        runs = [self.run(tokens)[0] for tokens in (clean, corrupted)]
        heads = range(HEADS) if sender.component == "attention" and sender.head is None else [sender.head]
        difference = sum(runs[0][sender.component, sender.layer, h] - runs[1][sender.component, sender.layer, h] for h in heads)
        at = list(range(LENGTH)) if sender.positions is None else list(sender.positions)
        told = torch.zeros_like(difference)
        told[:, at] = difference[:, at]
        return self.run(corrupted, told, path)[1]


SENDERS = [
    Sender("embedding"),
    Sender("embedding", positions=(0, 3)),
    Sender("attention", 0, 1),
    Sender("attention", 0, positions=(2,)),
    Sender("mlp", 0),
    Sender("attention", 1, 0),
    Sender("mlp", 1, positions=(1, 4)),
]


def later(sender):
    """Single receivers of every kind after a sender, two at once in one block, and two in different ones."""
    yield (Receiver("final"),)
    yield from ((Receiver(reads, 2, head),) for reads in "qkv" for head in (0, 1, None))
    yield (Receiver("mlp", 2),)
    yield Receiver("k", 2, 0), Receiver("mlp", 2), Receiver("final")
    if sender.layer != 1:
        yield (Receiver("q", 1, 1),)
        yield (Receiver("mlp", 1),)
        yield Receiver("v", 1, 0), Receiver("v", 1, 1), Receiver("q", 2, 1)
    if sender == Sender("attention", 0, 1):
        yield (Receiver("mlp", 0),)


PATHS = [DirectPath(sender, receivers) for sender in SENDERS for receivers in later(sender)]
SOME = PATHS[::7]  # of every kind: the receivers of a sender number no multiple of 7


@pytest.mark.parametrize(
    ("attention", "normalization", "ln", "dtype"),
    [
        ("bidirectional", "LN", "frozen", torch.float64),
        ("causal", "LN", "recomputed", torch.float64),
        ("bidirectional", "none", "recomputed", torch.float32),
        *(
            pytest.param(attention, normalization, ln, dtype, marks=pytest.mark.slow)
            for attention, normalization, ln, dtype in itertools.product(
                ("bidirectional", "causal"), ("LN", "none"), ("frozen", "recomputed"), (torch.float32, torch.float64)
            )
        ),
    ],
)
def test_equals_the_graph_on_every_kind_of_path(dtype, ln, attention, normalization):
    model = model_for(attention=attention, normalization=normalization, dtype=dtype)
    exact = Graph(model_for(attention=attention, normalization=normalization), ln == "frozen")
    paths = PATHS if attention == "bidirectional" and dtype == torch.float64 else PATHS[::3]
    found = path_patch(model, CLEAN, CORRUPTED, metric, paths, ln)
    with torch.no_grad():
        expected = np.stack([metric(exact.patched(CLEAN, CORRUPTED, path)).numpy() for path in paths], axis=1)
        unpatched = metric(exact.run(CORRUPTED)[1]).numpy()
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=BOUND[dtype])
    np.testing.assert_allclose(found.base, unpatched, rtol=0, atol=BOUND[dtype])
    idle = [path for path, effect in zip(paths, np.abs(found.effects).max(axis=0), strict=True) if effect < 10 * BOUND[dtype]]
    assert not idle


@pytest.mark.parametrize("ln", ["frozen", "recomputed"])
def test_equals_a_run_with_every_other_component_frozen_by_hooks(ln):
    """The textbook way: hold all outputs at the base run but the sender's, read the receiver's input, and hand it over."""
    model = model_for()
    names = ["blocks.*.hook_attn_out", "blocks.*.hook_mlp_out", "blocks.*.hook_scale", "blocks.*.ln?.hook_scale"]
    names = [name for name in model.hook_dict if name.endswith(("hook_attn_out", "hook_mlp_out", "hook_scale"))]
    base, donor = capture(model, CORRUPTED, names), capture(model, CLEAN, names)
    hook, seen = "blocks.2.attn.hook_v", {}
    frozen = {name: (lambda _, name=name: base[name].clone()) for name in names if name.endswith("out")}
    frozen["blocks.0.hook_mlp_out"] = lambda _: donor["blocks.0.hook_mlp_out"].clone()
    if ln == "frozen":
        frozen["blocks.2.ln1.hook_scale"] = lambda _: base["blocks.2.ln1.hook_scale"].clone()
    with torch.no_grad():
        with edit(model, frozen | {hook: lambda v: seen.setdefault("v", v)}):
            model(CORRUPTED)
        with edit(model, {hook: lambda v: v.index_copy(2, torch.tensor([1]), seen["v"][:, :, 1:])}):
            expected = metric(model(CORRUPTED)).numpy()
    found = path_patch(model, CLEAN, CORRUPTED, metric, [DirectPath(Sender("mlp", 0), (Receiver("v", 2, 1),))], ln)
    np.testing.assert_allclose(found.values[:, 0], expected, rtol=0, atol=1e-10)


# laws


@pytest.mark.parametrize(
    "sender", [Sender("embedding"), Sender("attention", 0), Sender("mlp", 1), Sender("mlp", 0, positions=(1,))]
)
def test_all_edges_of_a_sender_together_are_a_patch_of_its_output(sender):
    model = model_for()
    after = 0 if sender.layer is None else sender.layer + (sender.component == "mlp")
    receivers = tuple(r for r in EVERYWHERE if r.layer is None or r.layer >= after)
    receivers = tuple(r for r in receivers if sender.component != "attention" or r.layer != sender.layer or r.reads == "mlp")
    hook = {"embedding": "blocks.0.hook_resid_pre"}.get(
        sender.component, f"blocks.{sender.layer}.hook_{sender.component[:4].replace('atte', 'attn')}_out"
    )
    at = tuple(range(LENGTH)) if sender.positions is None else sender.positions
    whole = patch(model, CLEAN, CORRUPTED, metric, hook, positions=[at])
    found = path_patch(model, CLEAN, CORRUPTED, metric, [DirectPath(sender, receivers)], "recomputed")
    np.testing.assert_allclose(found.values, whole.values, rtol=0, atol=1e-10)


def test_frozen_direct_effects_of_all_senders_add_up():
    """Without layer norms, and with a metric linear in the logits, the direct paths to the end share out the whole gap."""
    senders = [Sender("embedding"), *(Sender(c, layer) for layer in range(LAYERS) for c in ("attention", "mlp"))]
    heads = [Sender("attention", 1, head) for head in range(HEADS)]
    paths = [DirectPath(sender, (Receiver("final"),)) for sender in (*senders, *heads)]
    found = path_patch(model_for(normalization="none"), CLEAN, CORRUPTED, linear, paths, "frozen")
    np.testing.assert_allclose(found.effects[:, : len(senders)].sum(axis=1), found.donor - found.base, rtol=0, atol=1e-10)
    whole = senders.index(Sender("attention", 1))
    np.testing.assert_allclose(found.effects[:, len(senders) :].sum(axis=1), found.effects[:, whole], rtol=0, atol=1e-10)
    assert (np.abs(found.effects).max(axis=0) > 1e-3).all()


def test_frozen_norms_make_changes_of_one_receiver_add_up_and_recomputed_ones_do_not():
    model, senders = (
        model_for(),
        [Sender("embedding"), *(Sender(c, layer) for layer in range(LAYERS) for c in ("attention", "mlp"))],
    )
    paths = [DirectPath(sender, (Receiver("final"),)) for sender in senders]
    frozen, recomputed = (path_patch(model, CLEAN, CORRUPTED, linear, paths, ln) for ln in ("frozen", "recomputed"))
    base, donor = (capture(model, tokens, "*hook_resid_post")["blocks.2.hook_resid_post"] for tokens in (CORRUPTED, CLEAN))
    scale, norm = (base.var(dim=-1, correction=0, keepdim=True) + model.cfg.eps).sqrt(), model.ln_final
    with torch.no_grad():
        told = (donor - donor.mean(dim=-1, keepdim=True)) / scale * norm.w + norm.b
        expected = linear(told @ model.unembed.W_U + model.unembed.b_U).numpy() - frozen.base
    np.testing.assert_allclose(frozen.effects.sum(axis=1), expected, rtol=0, atol=1e-10)
    assert np.abs(recomputed.effects.sum(axis=1) - expected).max() > 1e-2


def test_the_embedding_to_the_end_is_its_direct_effect():
    model = model_for()
    stream = capture(model, CORRUPTED, ["blocks.2.hook_resid_post"])["blocks.2.hook_resid_post"]
    embeddings = [capture(model, tokens, "blocks.0.hook_resid_pre")["blocks.0.hook_resid_pre"] for tokens in (CLEAN, CORRUPTED)]
    with torch.no_grad():
        expected = metric(model.unembed(model.ln_final(stream + embeddings[0] - embeddings[1]))).numpy()
    found = path_patch(model, CLEAN, CORRUPTED, metric, [DirectPath(Sender("embedding"), (Receiver("final"),))], "recomputed")
    np.testing.assert_allclose(found.values[:, 0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_layer_norms_both_conventions_agree(dtype):
    model = model_for(normalization="none", dtype=dtype)
    one, other = (path_patch(model, CLEAN, CORRUPTED, metric, SOME, ln).values for ln in ("frozen", "recomputed"))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("ln", ["frozen", "recomputed"])
def test_a_run_sent_to_itself_changes_nothing(ln):
    found = path_patch(model_for(), CLEAN, CLEAN, metric, SOME, ln)
    np.testing.assert_allclose(found.effects, 0, rtol=0, atol=1e-13)
    assert np.isnan(found.normalized).all() and found.gap.mean == 0


class WithoutRestart(torch.nn.Module):
    """The same model behind the bare protocol."""

    def __init__(self, model):
        super().__init__()
        self.model, self.cfg, self.hook_dict = model, model.cfg, dict(model.hook_dict)
        self.eval()

    def run_with_hooks(self, tokens, fwd_hooks=()):
        return self.model.run_with_hooks(tokens, fwd_hooks=list(fwd_hooks))

    def run_with_cache(self, tokens):
        return self.model.run_with_cache(tokens)


@pytest.mark.parametrize("ln", ["frozen", "recomputed"])
def test_models_that_cannot_restart_and_small_batches_give_the_same(ln):
    model = model_for()
    expected = path_patch(model, CLEAN, CORRUPTED, metric, SOME, ln).values
    for subject, batch_size in ((WithoutRestart(model), 128), (model, 3)):
        found = path_patch(subject, CLEAN, CORRUPTED, metric, SOME, ln, batch_size=batch_size)
        np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-11)


def test_attention_only_models_directions_and_labels():
    model = model_for(d_mlp=0)
    paths = [
        DirectPath(Sender("attention", 0, 1), (Receiver("k", 1, 0), Receiver("final"))),
        DirectPath(Sender("embedding"), (Receiver("q", 2),)),
    ]
    found = path_patch(model, CLEAN, CORRUPTED, metric, paths, "recomputed")
    mirrored = path_patch(model, CORRUPTED, CLEAN, metric, paths, "recomputed", direction="noising")
    np.testing.assert_array_equal(found.values, mirrored.values)
    frame = found.to_dataframe()
    assert list(frame.sender) == ["head 0.1", "embedding"] and list(frame.receivers) == ["k 1.0, final", "q 2"]
    assert ((frame.effect_low <= frame.effect) & (frame.effect <= frame.effect_high)).all()
    np.testing.assert_allclose(found.normalized.mean(axis=0), found.normalized_effect.mean, rtol=0, atol=1e-12)
    assert found.to_dict()["paths"][0] == {"sender": "head 0.1", "receivers": ["k 1.0", "final"]}
    assert sender_name(Sender("mlp", 1, positions=(1, 4))) == "mlp 1 at 1, 4"
    exact = Graph(model, False)
    with torch.no_grad():
        expected = np.stack([metric(exact.patched(CLEAN, CORRUPTED, path)).numpy() for path in paths], axis=1)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-10)


def test_nothing_is_left_behind():
    model, clean, corrupted = model_for(), CLEAN.clone(), CORRUPTED.clone()
    before = [value.clone() for value in model.parameters()]
    path_patch(model, clean, corrupted, metric, [DirectPath(Sender("mlp", 0), EVERYWHERE[4:])], "frozen")
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.equal(clean, CLEAN) and torch.equal(corrupted, CORRUPTED)
    assert not any(point._forward_hooks for point in model.hook_dict.values())


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(ln="folded"), InputError, "ln must be one of frozen, recomputed, got 'folded'"),
        (dict(direction="up"), InputError, "direction must be one of denoising, noising, got 'up'"),
        (dict(paths=[]), InputError, "at least one path"),
        (dict(corrupted=tokens_for(2, 2)), InputError, r"one shape, got \[4, 5\] and \[2, 5\]"),
        (dict(paths=[(Sender("mlp", 1), (Receiver("mlp", 1),))]), InputError, "mlp 1 reads the stream before mlp 1 has written"),
        (dict(paths=[(Sender("attention", 1, 0), (Receiver("q", 1),))]), InputError, "q 1 reads the stream before head 1.0 has"),
        (dict(paths=[(Sender("mlp", 3), (Receiver("final"),))]), InputError, "no such sender in 3 blocks"),
        (dict(paths=[(Sender("embedding", 0), (Receiver("final"),))]), InputError, "no such sender in 3 blocks"),
        (dict(paths=[(Sender("mlp", 0, 1), (Receiver("final"),))]), InputError, "no such sender in 3 blocks"),
        (dict(paths=[(Sender("mlp", 0), (Receiver("q", 3),))]), InputError, "no such receiver in 3 blocks"),
        (dict(paths=[(Sender("mlp", 0), (Receiver("mlp", 1, 0),))]), InputError, "no such receiver in 3 blocks"),
        (dict(paths=[(Sender("mlp", 0), (Receiver("q", 1, 2),))]), InputError, "heads 0..1, got head 2"),
        (dict(paths=[(Sender("attention", 0, 2), (Receiver("q", 1),))]), InputError, "heads 0..1, got head 2"),
        (
            dict(paths=[(Sender("mlp", 0, None, (5,)), (Receiver("q", 1),))]),
            InputError,
            r"positions must lie in 0..4, got \(5,\)",
        ),
        (dict(paths=[(Sender("mlp", 0), ())]), InputError, "at least one receiver"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, error, message):
    full = dict(clean=CLEAN, corrupted=CORRUPTED, metric=metric, paths=[(Sender("mlp", 0), (Receiver("final"),))], ln="frozen")
    full |= arguments
    full["paths"] = [DirectPath(*path) for path in full["paths"]]
    with pytest.raises(error, match=message):
        path_patch(model_for(), **full)


def test_hooks_that_never_fire_or_are_missing_are_errors():
    model = model_for(d_mlp=0)
    with pytest.raises(HookError, match="hook_mlp_out did not fire"):
        path_patch(model, CLEAN, CORRUPTED, metric, [DirectPath(Sender("mlp", 0), (Receiver("final"),))], "frozen")
    with pytest.raises(HookError, match="No hook matches 'blocks.1.hook_resid_mid'"):
        path_patch(model, CLEAN, CORRUPTED, metric, [DirectPath(Sender("embedding"), (Receiver("mlp", 1),))], "recomputed")
    blind = WithoutRestart(model)
    blind.hook_dict = {name: point for name, point in blind.hook_dict.items() if not name.endswith("hook_scale")}
    path = [DirectPath(Sender("embedding"), (Receiver("q", 1),))]
    with pytest.raises(HookError, match=r"needs blocks.1.ln1.hook_scale .* no such hook"):
        path_patch(blind, CLEAN, CORRUPTED, metric, path, "frozen")
    seeing = path_patch(model, CLEAN, CORRUPTED, metric, path, "recomputed").values
    np.testing.assert_allclose(path_patch(blind, CLEAN, CORRUPTED, metric, path, "recomputed").values, seeing, rtol=0, atol=1e-11)
