"""The post-norm encoder: PyTorch's own encoder as reference, and hooks that do what their names say."""

import re

import numpy as np
import pytest
import torch

import mechbp
from mechbp.divergence import kl_nats
from mechbp.errors import InputError, LimitExceeded
from mechbp.methods.interchange.continuation import Continuation
from mechbp.methods.interchange.interchange import interchange
from mechbp.methods.patching.plain_transformer import Network
from mechbp.models import forward
from mechbp.models.answers import model_answers
from mechbp.models.building import BUILDERS
from mechbp.models.config import MAX_PARAMETERS, PostNormConfig
from mechbp.models.post_norm import EPS, sinusoids
from mechbp.models.tasks.tree import TREE
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.message_pairs import message_pairs

TREE3 = FilteredTree(TreeGrammar.random(3, 1.0, seed=0), 2)
CONFIG = PostNormConfig("post-norm", n_layers=3, n_heads=2, d_model=8, d_mlp=12)


def model_of(task="masked", config=CONFIG, perturbed=True):
    """A float64 model; biases and gains moved, since at their initial 0 and 1 they could be forgotten."""
    model = BUILDERS[PostNormConfig](config, TREE.tasks[task], TREE3, 1).double()
    model.cfg.dtype = torch.float64
    model.pos_embed.W_pos = sinusoids(model.cfg.n_ctx, model.cfg.d_model).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters() if perturbed else ():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def tokens_of(n=5, seed=0):
    return torch.from_numpy(rng(seed, "tokens").integers(5, size=(n, TREE3.n_leaves)))


def at_the_start():
    """Where a concatenated read-out answers."""
    return (torch.arange(4) == 0).expand(5, -1)


def pytorchs_own(model):
    """nn.TransformerEncoder with the model's weights."""
    with torch.random.fork_rng(devices=[]):
        layer = torch.nn.TransformerEncoderLayer(
            model.cfg.d_model, model.cfg.n_heads, model.cfg.d_mlp, dropout=0.0, activation="relu", batch_first=True
        )  # norm_first is False
        encoder = torch.nn.TransformerEncoder(layer, model.cfg.n_layers, enable_nested_tensor=False).double().eval()
    for block, theirs in zip(model.blocks, encoder.layers, strict=True):
        rows = [w.permute(0, 2, 1).flatten(0, 1) for w in (block.attn.W_Q, block.attn.W_K, block.attn.W_V)]
        biases = [b.flatten() for b in (block.attn.b_Q, block.attn.b_K, block.attn.b_V)]
        weights = {
            "self_attn.in_proj_weight": torch.cat(rows),
            "self_attn.in_proj_bias": torch.cat(biases),
            "self_attn.out_proj.weight": block.attn.W_O.flatten(0, 1).T,
            "self_attn.out_proj.bias": block.attn.b_O,
            "linear1.weight": block.mlp.W_in.T,
            "linear1.bias": block.mlp.b_in,
            "linear2.weight": block.mlp.W_out.T,
            "linear2.bias": block.mlp.b_out,
            "norm1.weight": block.ln1.w,
            "norm1.bias": block.ln1.b,
            "norm2.weight": block.ln2.w,
            "norm2.bias": block.ln2.b,
        }
        theirs.load_state_dict({name: weight.detach() for name, weight in weights.items()})
    return encoder


@pytest.mark.parametrize("task", ["masked", "root-all"])
def test_it_computes_what_pytorchs_encoder_does(task):
    model, tokens = model_of(task), tokens_of()
    with torch.no_grad():
        final = pytorchs_own(model)(model.embed.W_E[tokens] + model.pos_embed.W_pos)
        read = final.flatten(1)[:, None] if task == "root-all" else final
        expected = read @ model.unembed.W_U + model.unembed.b_U
        torch.testing.assert_close(model(tokens), expected, rtol=0, atol=1e-12)
    last = mechbp.capture(model, tokens, "blocks.2.hook_resid_post")["blocks.2.hook_resid_post"]
    torch.testing.assert_close(last, final, rtol=0, atol=1e-12)


def test_positions_are_sines_and_cosines_of_the_paper():
    found = sinusoids(5, 6).double().numpy()
    for position in range(5):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            np.testing.assert_allclose(found[position, 2 * pair : 2 * pair + 2], [np.sin(angle), np.cos(angle)], atol=1e-7)
    assert "pos_embed.W_pos" not in dict(model_of().named_parameters())


def test_weights_start_as_pytorchs_do():
    config = PostNormConfig("post-norm", n_layers=2, n_heads=1, d_model=64, d_mlp=32)
    model = model_of(config=config, perturbed=False)
    first, second = model.blocks
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert 0.7 < model.embed.W_E.std() < 1.3
    assert not any(bias.any() for bias in (first.attn.b_Q, first.attn.b_K, first.attn.b_V, first.attn.b_O, first.ln1.b))
    with torch.random.fork_rng(devices=[]):
        theirs = torch.nn.TransformerEncoderLayer(64, 1, 32)
        head = torch.nn.Linear(64, 3)
    for mine, reference in (
        (first.attn.W_Q, theirs.self_attn.in_proj_weight),
        (first.attn.W_V, theirs.self_attn.in_proj_weight),
        (first.attn.W_O, theirs.self_attn.out_proj.weight),
        (first.mlp.W_in, theirs.linear1.weight),
        (first.mlp.b_in, theirs.linear1.bias),
        (first.mlp.W_out, theirs.linear2.weight),
        (first.mlp.b_out, theirs.linear2.bias),
        (model.unembed.W_U, head.weight),
    ):
        assert mine.abs().max().item() == pytest.approx(reference.abs().max().item(), rel=0.1)  # uniform: the bound itself


def test_building_leaves_the_global_generator_alone_and_the_seed_decides():
    before = torch.random.get_rng_state()
    one, same = model_of(perturbed=False), model_of(perturbed=False)
    other = BUILDERS[PostNormConfig](CONFIG, TREE.tasks["masked"], TREE3, 2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.embed.W_E, same.embed.W_E) and not torch.equal(one.embed.W_E.float(), other.embed.W_E)


@pytest.mark.parametrize("task", ["masked", "root-all"])
def test_the_reading_for_training_equals_the_hooked_forward_and_its_gradients(task):
    model, tokens = model_of(task), tokens_of()
    reads = torch.rand(5, 4, generator=torch.Generator().manual_seed(2)) < 0.5 if task == "masked" else at_the_start()
    found = []
    for run in (lambda: forward.read(model, tokens, reads), lambda: model(tokens)[reads[:, : 1 if task == "root-all" else 4]]):
        model.zero_grad()
        logits = run()
        (logits.log_softmax(-1) * torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)).sum().backward()
        found.append((logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (fast, fast_gradients), (hooked, gradients) = found
    torch.testing.assert_close(fast, hooked, rtol=0, atol=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(fast_gradients[name], gradient, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("task", ["masked", "root-all"])
def test_answers_are_read_where_the_task_asks(task):
    model = model_of(task)
    sample = TREE3.sample(4, rng(0, "answers"))
    found = model_answers(model, TREE.tasks[task], TREE3, sample.tokens, batch_size=3)
    assert found.shape == (4, 1 if task == "root-all" else TREE3.n_leaves, 3)
    for row, word in enumerate(sample.tokens):
        for query in range(found.shape[1]):
            shown = word.copy()
            if task == "masked":
                shown[query] = TREE3.mask_token
            expected = model(torch.from_numpy(shown)[None])[0, query].softmax(-1).detach().numpy()
            np.testing.assert_allclose(found[row, query], expected, rtol=0, atol=1e-12)


def test_an_edited_model_is_read_as_edited():
    model, tokens = model_of("root-all"), tokens_of()
    reads = at_the_start()
    plain = model.read(tokens, reads)
    with mechbp.edit(model, {"blocks.1.hook_attn_out": torch.zeros_like}) as session:
        edited = model.read(tokens, reads)
    assert session.firings == {"blocks.1.hook_attn_out": 1} and (plain - edited).abs().max() > 1e-3
    torch.testing.assert_close(model.read(tokens, reads), plain)


def normed(x, gain, bias):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + EPS).sqrt() * gain + bias


def test_the_stream_in_the_middle_is_after_the_norm_and_feeds_both_mlp_and_skip():
    model, tokens = model_of(), tokens_of()
    acts = mechbp.capture(model, tokens, ["blocks.1.hook_resid_*", "blocks.1.hook_*_out"])
    block = model.blocks[1]
    with torch.no_grad():
        middle = normed(acts["blocks.1.hook_resid_pre"] + acts["blocks.1.hook_attn_out"], block.ln1.w, block.ln1.b)
        torch.testing.assert_close(acts["blocks.1.hook_resid_mid"], middle, rtol=0, atol=1e-12)
        after = normed(middle + acts["blocks.1.hook_mlp_out"], block.ln2.w, block.ln2.b)
        torch.testing.assert_close(acts["blocks.1.hook_resid_post"], after, rtol=0, atol=1e-12)
        given = torch.linspace(-1, 1, 8, dtype=torch.float64).expand(5, 4, 8)
        written = torch.relu(given @ block.mlp.W_in + block.mlp.b_in) @ block.mlp.W_out + block.mlp.b_out
        with mechbp.edit(model, {"blocks.1.hook_resid_mid": lambda middle: given.clone()}):
            found = mechbp.capture(model, tokens, "blocks.1.hook_resid_post")["blocks.1.hook_resid_post"]
        torch.testing.assert_close(found, normed(given + written, block.ln2.w, block.ln2.b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", ["masked", "root-all"])
def test_edits_at_the_ends_do_what_their_names_say(task):
    model, tokens = model_of(task), tokens_of()
    with torch.no_grad():
        plain = model(tokens)
        for name in [name for name in model.hook_dict if not name.endswith("hook_result")]:
            with mechbp.edit(model, {name: lambda activation: activation}):
                assert torch.equal(model(tokens), plain), name  # an identity edit changes nothing
        with mechbp.edit(model, {"blocks.2.hook_resid_post": torch.zeros_like}):
            torch.testing.assert_close(model(tokens), model.unembed.b_U.expand_as(plain))
        with mechbp.edit(model, {"hook_logits": torch.zeros_like}):
            assert not model(tokens).any()
        with mechbp.edit(model, {"hook_embed": torch.zeros_like}):
            assert torch.allclose(model(tokens), model(tokens)[:1].expand_as(plain))  # no token is seen any more
    assert {row.name for row in mechbp.hook_table(model) if not row.writable} == {
        f"blocks.{i}.attn.hook_result" for i in range(3)
    }


@pytest.mark.parametrize("task", ["masked", "root-all"])
def test_it_restarts_from_the_input_of_any_block(task):
    model, tokens = model_of(task), tokens_of()
    with torch.no_grad():
        for layer in range(4):
            torch.testing.assert_close(model(model(tokens, stop_at_layer=layer), start_at_layer=layer), model(tokens))
        seen = mechbp.capture(model, tokens, "blocks.1.hook_resid_pre")["blocks.1.hook_resid_pre"]
        torch.testing.assert_close(model(tokens, stop_at_layer=1), seen)
        logits = Continuation.at(model, "blocks.0.hook_resid_post").logits(tokens, 2 * seen)
        with mechbp.edit(model, {"blocks.1.hook_resid_pre": lambda x: 2 * x}):
            torch.testing.assert_close(logits, model(tokens))
    assert Network.of(model) is None  # nothing takes it for a pre-norm model


@pytest.mark.parametrize("task", ["masked", "root-all"])
def test_patching_equals_a_plain_loop(task):
    model, clean, corrupted = model_of(task), tokens_of(4, seed=0), tokens_of(4, seed=1)

    def metric(logits):
        return logits[:, -1, 0] - logits[:, -1, 1]

    hooks = ["blocks.1.hook_resid_pre", "blocks.1.hook_resid_mid", "blocks.2.hook_mlp_out", "blocks.2.hook_resid_post"]
    effects = mechbp.patch(model, clean, corrupted, metric, hooks=hooks)
    donors = mechbp.capture(model, clean, hooks)
    frame = effects.to_dataframe()
    with torch.no_grad():
        base = metric(model(corrupted))
        for hook in hooks:
            for position in range(4):

                def swap(activation, hook=hook, position=position):
                    activation[:, position] = donors[hook][:, position]
                    return activation

                with mechbp.edit(model, {hook: swap}):
                    expected = (metric(model(corrupted)) - base).mean().item()
                found = frame[(frame["hook"] == hook) & (frame["position"] == position)]["effect"]
                assert found.item() == pytest.approx(expected, abs=1e-9), (hook, position)


def test_probes_attention_and_llc_free_methods_run(unchecked):
    model = model_of()
    sample = TREE3.sample(400, rng(0, "probe"))
    beliefs = TREE3.beliefs(sample.tokens)
    grid = mechbp.probe(
        model, sample.tokens, {"parent": beliefs.upward[1]}, hooks=["blocks.*.hook_resid_post"], rng=rng(0, "probe")
    )
    assert grid.r2["parent"].shape[0] == 3
    match = mechbp.compare_attention(model, sample.tokens, "uniform")
    assert match.js_nats.mean.shape == (3, 2)


def test_recipes_are_checked():
    with pytest.raises(InputError, match="d_model = 9 must be even and a multiple of n_heads = 3"):
        PostNormConfig("post-norm", n_layers=1, n_heads=3, d_model=9, d_mlp=4)
    with pytest.raises(LimitExceeded, match=f"at most {MAX_PARAMETERS:,}"):
        PostNormConfig("post-norm", n_layers=64, n_heads=1, d_model=4096, d_mlp=4)
    with pytest.raises(InputError, match=re.escape("model.d_mlp must be in 1..65536, got 0")):
        PostNormConfig("post-norm", n_layers=1, n_heads=1, d_model=4, d_mlp=0)


def test_fewer_positions_than_a_concatenated_read_out_has_are_refused():
    with pytest.raises(ValueError, match="needs all 4 positions, got 3"):
        model_of("root-all")(tokens_of()[:, :3])
    assert model_of("masked")(tokens_of()[:, :3]).shape == (5, 3, 3)


def test_interchange_of_whole_vectors_equals_an_edit():
    model = model_of("root-all")
    pairs = message_pairs(TREE3, "root-all", 1, 12, rng(0, "pairs"))
    hook = "blocks.0.hook_resid_post"
    test = interchange(model, pairs, hook, {}, rng=rng(0))
    source = mechbp.capture(model, pairs.source, hook)[hook]

    def swap(activation):
        return torch.where(torch.from_numpy(pairs.positions)[..., None], source, activation)

    with torch.no_grad(), mechbp.edit(model, {hook: swap}):
        said = model(torch.from_numpy(pairs.base))[:, 0].softmax(-1).numpy()
    np.testing.assert_allclose(test.target_kl_nats["whole vector"], kl_nats(pairs.expected, said), atol=1e-9)
