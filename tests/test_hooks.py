"""Capturing and editing: nothing else changes, nothing is left behind, and silence is an error."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from mechbp.errors import HookError, InputError
from mechbp.hook_listing import hook_table
from mechbp.hooks import capture, edit, firing_hooks, matching_hooks, model_device, require_control, require_hooked, to_tokens
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig


class Mixer(nn.Module):
    """A hooked model that is no HookedTransformer: two mixing layers, its own hook points, no stop_at_layer."""

    def __init__(self, n_positions=4, width=8, symbols=6):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.cfg = type("Config", (), {"n_ctx": n_positions})()
        self.embed = nn.Parameter(torch.randn(symbols, width, generator=generator))
        self.mix = nn.Parameter(torch.randn(2, n_positions, n_positions, generator=generator))
        names = ("hook_embed", "blocks.0.hook_out", "blocks.1.hook_out", "hook_unused")
        self.hook_dict = {name: nn.Identity() for name in names}

    def forward(self, tokens):
        x = self.hook_dict["hook_embed"](self.embed[tokens])
        for layer in range(2):
            x = self.hook_dict[f"blocks.{layer}.hook_out"](x + torch.tanh(self.mix[layer] @ x))
        self.hook_dict["hook_unused"](x.sum())
        return x

    def run_with_hooks(self, tokens, fwd_hooks=()):
        assert not fwd_hooks
        return self(tokens)

    def run_with_cache(self, tokens):
        return self(tokens), capture(self, tokens, "*hook_*")


def tokens_for(n=5, length=4, seed=0):
    return torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(seed))


def hooks_left(model):
    return sum(len(point._forward_hooks) for point in model.hook_dict.values())


def weights(model):
    return [parameter.clone() for parameter in model.parameters()]


def bits_equal(a, b):
    return a.dtype == b.dtype and torch.equal(a.view(torch.int32), b.view(torch.int32))


# capture


def test_capture_equals_run_with_cache_at_every_firing_hook(tiny_encoder):
    tokens = tokens_for()
    cache = tiny_encoder.run_with_cache(tokens)[1]
    captured = capture(tiny_encoder, tokens, list(cache), batch_size=2)
    assert captured.keys() == cache.keys()
    for name, value in captured.items():
        torch.testing.assert_close(value, cache[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
@pytest.mark.parametrize("normalization", ["LN", "none"])
def test_capture_and_identity_edit_change_no_bit(attention, normalization):
    draw = random.Random(0)
    for seed in range(25):  # 4 x 25 configurations
        heads, length = draw.choice([1, 2, 4]), draw.choice([2, 4, 8])
        config = ModelConfig(draw.choice([1, 2, 3]), heads, 8, draw.choice([0, 16]), "relu", normalization, attention)
        model = build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=length, seed=seed)
        tokens = tokens_for(draw.choice([1, 3]), length, seed)
        with torch.no_grad():
            before = model(tokens)
            capture(model, tokens, "*hook_resid*")
            with edit(model, {"*hook_resid*": lambda x: x, "*hook_pattern": lambda x: x}):
                inside = model(tokens)
            assert bits_equal(inside, before) and bits_equal(model(tokens), before)


def test_captured_tensors_are_detached_and_alias_nothing(tiny_encoder):
    tokens = tokens_for()
    with torch.no_grad():
        before, weights_before = tiny_encoder(tokens), weights(tiny_encoder)
    captured = capture(tiny_encoder, tokens, "*hook_resid*")
    assert not any(value.requires_grad for value in captured.values())
    kept = {name: value.clone() for name, value in captured.items()}
    for name, value in captured.items():  # resid_post of one block and resid_pre of the next are one tensor inside the model
        value.fill_(7.0)
        kept[name] = value.clone()
        assert all(torch.equal(captured[other], kept[other]) for other in captured)
    assert torch.equal(tiny_encoder(tokens), before)
    assert all(torch.equal(a, b) for a, b in zip(weights_before, tiny_encoder.parameters(), strict=True))


def test_a_later_hook_that_writes_in_place_does_not_reach_what_was_captured(tiny_encoder):
    name = "blocks.0.hook_resid_post"  # inside the model the same memory as the next block's resid_pre
    before = capture(tiny_encoder, tokens_for(), name)[name]
    tiny_encoder.add_hook("blocks.1.hook_resid_pre", lambda value, hook: value.zero_())
    assert torch.equal(capture(tiny_encoder, tokens_for(), [name, "blocks.1.hook_mlp_out"])[name], before)


def test_capture_runs_no_deeper_than_the_last_hook(tiny_encoder):
    reached = []
    handles = [p.register_forward_hook(lambda *_, n=n: reached.append(n)) for n, p in tiny_encoder.hook_dict.items()]
    capture(tiny_encoder, tokens_for(), "blocks.0.hook_resid_post")
    assert "blocks.0.hook_mlp_out" in reached and not any(name.startswith(("blocks.1", "ln_final")) for name in reached)
    reached.clear()
    capture(tiny_encoder, tokens_for(), "ln_final.hook_normalized")
    assert "blocks.1.hook_resid_post" in reached
    for handle in handles:
        handle.remove()


def test_capture_inside_an_edit_sees_the_edited_value(tiny_encoder):
    with edit(tiny_encoder, {"blocks.0.hook_resid_pre": torch.zeros_like}):
        captured = capture(tiny_encoder, tokens_for(), "blocks.0.hook_resid_pre")
    assert not captured["blocks.0.hook_resid_pre"].any()


def test_capture_takes_read_only_numpy_tokens_and_leaves_them(tiny_encoder):
    tokens = tokens_for().numpy().copy()
    tokens.setflags(write=False)
    captured = capture(tiny_encoder, tokens, "hook_embed")
    assert torch.equal(captured["hook_embed"], capture(tiny_encoder, tokens_for(), "hook_embed")["hook_embed"])


@pytest.mark.parametrize(
    "tokens, message",
    [
        (np.zeros((2, 4)), "tokens must be integers, got dtype float64"),
        (np.zeros(4, int), r"shape \[n, position\] with n >= 1, got \[4\]"),
        (np.zeros((0, 4), int), r"got \[0, 4\]"),
        (np.zeros((2, 5), int), r"tokens have 5 positions; the model takes at most 4 \(cfg.n_ctx\)"),
        (np.full((2, 4), 6), r"tokens must be >= 0, the model knows 0..5 \(cfg.d_vocab\), got 6"),
        (np.full((2, 4), -1), r"got -1"),
        (torch.zeros((2, 4), dtype=torch.int64, device="meta"), r"one that is on no device \(meta\)"),
        (torch.zeros((2, 4), dtype=torch.int64).to_sparse(), "one that is sparse_coo"),
    ],
)
def test_bad_tokens_are_refused(tiny_encoder, tokens, message):
    with pytest.raises(InputError, match=message):
        to_tokens(tiny_encoder, tokens)


@pytest.mark.parametrize("convert", [lambda t: t[::-1], lambda t: t.astype(">i4")])
def test_any_integer_array_is_taken(tiny_encoder, convert):
    tokens = convert(tokens_for().numpy())
    assert torch.equal(to_tokens(tiny_encoder, tokens), torch.from_numpy(tokens.astype(np.int64)))


# edit


def test_edit_replaces_the_activation_and_counts(tiny_encoder):
    tokens = tokens_for()
    with torch.no_grad():
        expected = tiny_encoder.run_with_hooks(tokens, fwd_hooks=[("blocks.1.hook_mlp_out", lambda x, hook: x * 2)])
        with edit(tiny_encoder, {"blocks.1.hook_mlp_out": lambda x: x.mul_(2)}) as session:
            assert session.firings == {"blocks.1.hook_mlp_out": 0}
            assert bits_equal(tiny_encoder(tokens), expected)
            tiny_encoder(tokens)
    assert session.firings == {"blocks.1.hook_mlp_out": 2}


def test_edits_apply_outer_first_and_in_the_order_given(tiny_encoder):
    name, order = "blocks.0.hook_resid_mid", []

    def note(label):
        return lambda x: (order.append(label), x)[1]

    with edit(tiny_encoder, {name: note("a"), "blocks.0.hook_resid_m*": note("b")}), edit(tiny_encoder, {name: note("c")}):
        tiny_encoder(tokens_for())
    assert order == ["a", "b", "c"]


def test_nested_and_raising_blocks_leave_no_hook_and_no_other_removed(tiny_encoder):
    tokens, name = tokens_for(1), "blocks.1.hook_resid_pre"
    theirs = tiny_encoder.hook_dict[name].register_forward_hook(lambda *_: None)
    tiny_encoder.add_hook(name, lambda value, hook: None)
    expected, weights_before = hooks_left(tiny_encoder), weights(tiny_encoder)
    draw = random.Random(0)

    def block(depth):
        with edit(tiny_encoder, {draw.choice([name, "blocks.*.hook_attn_out"]): lambda x: x}):
            if depth:
                block(depth - 1)
            raise KeyError("body")

    for _ in range(500):  # 2,000 blocks, all left by an exception
        with pytest.raises(KeyError, match="body"):
            block(3)
    for _ in range(50):
        with edit(tiny_encoder, {name: lambda x: x}):
            tiny_encoder.run_with_cache(tokens)  # TransformerLens resets hooks of its own level here
    assert hooks_left(tiny_encoder) == expected
    assert all(torch.equal(a, b) for a, b in zip(weights_before, tiny_encoder.parameters(), strict=True))
    theirs.remove()


def test_an_edit_survives_a_reset_inside_and_still_leaves_nothing(tiny_encoder):
    with edit(tiny_encoder, {"hook_embed": torch.zeros_like}) as session:
        tiny_encoder.reset_hooks()
        tiny_encoder(tokens_for())
    assert session.firings["hook_embed"] == 1 and hooks_left(tiny_encoder) == 0


def test_nothing_is_registered_before_entering(tiny_encoder):
    edit(tiny_encoder, {"hook_embed": lambda x: x})
    assert hooks_left(tiny_encoder) == 0


def test_a_failing_registration_leaves_nothing(tiny_encoder):
    with pytest.raises(HookError), edit(tiny_encoder, {"hook_embed": lambda x: x, "hook_imbed": lambda x: x}):
        pass
    assert hooks_left(tiny_encoder) == 0


@pytest.mark.parametrize(
    "name, reason",
    [
        ("blocks.0.attn.hook_result", r"cfg.use_attn_result is on: call model.set_use_attn_result\(True\)"),
        ("blocks.1.hook_q_input", r"call model.set_use_split_qkv_input\(True\)"),
        ("blocks.1.hook_attn_in", r"call model.set_use_attn_in\(True\)"),
        ("blocks.0.hook_mlp_in", r"call model.set_use_hook_mlp_in\(True\)"),
    ],
)
def test_a_gated_hook_is_reported_and_works_once_switched_on(tiny_encoder, name, reason):
    with pytest.raises(HookError, match=f"{name} never fired.*{reason}"), edit(tiny_encoder, {name: lambda x: x}):
        tiny_encoder(tokens_for())
    with pytest.raises(HookError, match=f"{name} did not fire.*{reason}"):
        capture(tiny_encoder, tokens_for(), name)
    assert hooks_left(tiny_encoder) == 0
    switch = reason.rpartition("call model.")[2].partition("\\")[0]
    getattr(tiny_encoder, switch)(True)
    with edit(tiny_encoder, {name: lambda x: x}) as session:
        tiny_encoder(tokens_for())
    assert session.firings[name] == 1


def test_an_edit_around_no_forward_pass_is_an_error(tiny_encoder):
    with pytest.raises(HookError, match="hook_embed never fired"), edit(tiny_encoder, {"hook_embed": lambda x: x}):
        pass


@pytest.mark.parametrize("function", [lambda x: None, lambda x: x[:1], lambda x: x.double()])
def test_an_edit_must_return_a_tensor_like_its_argument(tiny_encoder, function):
    with pytest.raises(HookError, match="function for hook_embed must return"), edit(tiny_encoder, {"hook_embed": function}):
        tiny_encoder(tokens_for())


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"hook_embed": 3.0}, r"given for 'hook_embed' must be a function of the activation, got a float\.\nTo set a value"),
        ({"hook_embed": torch.zeros(2)}, "must be a function of the activation, got a Tensor"),
        ([("hook_embed", torch.zeros_like)], "edits must be {hook name or glob pattern: function}, got a list"),
    ],
)
def test_an_edit_that_is_no_function_is_refused(edits, message, tiny_encoder):
    with pytest.raises(InputError, match=message), edit(tiny_encoder, edits):
        tiny_encoder(tokens_for())
    assert hooks_left(tiny_encoder) == 0


def test_gradients_flow_through_an_edit(tiny_encoder):
    scale = torch.tensor(1.0, requires_grad=True)
    with edit(tiny_encoder, {"blocks.0.hook_attn_out": lambda x: x * scale}):
        tiny_encoder(tokens_for())[:, 0, 0].sum().backward()
    assert scale.grad is not None and scale.grad != 0


# names


def test_globs_match_in_model_order(tiny_encoder):
    assert matching_hooks(tiny_encoder, ["blocks.1.hook_resid_pre", "blocks.*.hook_resid_p*"]) == (
        "blocks.0.hook_resid_pre",
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_pre",
        "blocks.1.hook_resid_post",
    )


def test_a_misspelt_hook_names_the_right_neighbour(tiny_encoder):
    draw, names, right = random.Random(0), list(tiny_encoder.hook_dict), 0
    trials = 0
    while trials < 200:
        name = draw.choice(names)
        at = draw.randrange(len(name) - 1)
        letter = draw.choice("abcdefghijklmnopqrstuvwxyz_.")
        typo = draw.choice([name[:at] + name[at + 1 :], name[:at] + letter + name[at:], name[:at] + letter + name[at + 1 :]])
        typo = draw.choice([typo, name[:at] + name[at + 1] + name[at] + name[at + 2 :]])
        if typo in names:
            continue
        trials += 1
        with pytest.raises(HookError) as caught:
            matching_hooks(tiny_encoder, typo)
        right += name in str(caught.value)
    assert right >= 190, right


def test_a_misspelt_pattern_names_a_pattern(tiny_encoder):
    with pytest.raises(
        HookError, match=r"No hook matches 'blocks\.\*\.hook_resid_pots'; did you mean 'blocks\.\*\.hook_resid_post'"
    ):
        capture(tiny_encoder, tokens_for(), "blocks.*.hook_resid_pots")
    with pytest.raises(HookError, match="No hook was named"):
        capture(tiny_encoder, tokens_for(), [])


# models


def test_train_mode_is_refused_anywhere_in_the_model(tiny_encoder):
    tiny_encoder.blocks[1].mlp.train()
    with pytest.raises(InputError, match=r"train mode.*model\.eval\(\)"):
        capture(tiny_encoder, tokens_for(), "hook_embed")


def test_a_model_without_the_protocol_is_refused():
    with pytest.raises(HookError, match="Linear is no hooked model: it lacks cfg, hook_dict, run_with_cache, run_with_hooks"):
        require_hooked(nn.Linear(2, 2).eval())  # pyright: ignore[reportArgumentType]


def test_any_model_with_the_protocol_will_do():
    model, tokens = Mixer().eval(), tokens_for()
    plain = model(tokens).detach()
    captured = capture(model, tokens, ["hook_embed", "blocks.*.hook_out"], batch_size=2)
    torch.testing.assert_close(captured["blocks.1.hook_out"], plain, rtol=0, atol=1e-6)
    with edit(model, {"hook_embed": lambda x: x + 1}) as session:
        assert not torch.equal(model(tokens), plain)
    assert session.firings == {"hook_embed": 1} and hooks_left(model) == 0
    assert model_device(model) == torch.device("cpu")
    with pytest.raises(HookError, match="hook_unused has no batch axis"):
        capture(model, tokens, "hook_unused")
    assert hooks_left(model) == 0


def test_hooks_that_fire_are_told_from_those_that_only_exist():
    config = ModelConfig(n_layers=2, n_heads=1, d_model=8, d_mlp=0)
    model = build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=4, seed=0)
    wanted = ["blocks.*.hook_mlp_out", "blocks.*.hook_resid_mid", "blocks.1.hook_resid_post", "blocks.*.hook_attn_out", "nope"]
    expected = ["blocks.0.hook_attn_out", "blocks.1.hook_attn_out", "blocks.1.hook_resid_post"]
    assert "blocks.0.hook_mlp_out" in model.hook_dict
    assert firing_hooks(model, wanted, tokens_for()[:1]) == expected and hooks_left(model) == 0
    assert firing_hooks(model, ["nope"], tokens_for()) == []


def test_hook_table_tells_shape_and_what_can_be_written(tiny_encoder):
    rows = {row.name: row for row in hook_table(tiny_encoder)}
    assert list(rows) == list(tiny_encoder.hook_dict)
    assert rows["blocks.1.attn.hook_pattern"].shape == ("batch", 2, 4, 4) and rows["blocks.1.attn.hook_pattern"].writable
    assert rows["blocks.0.attn.hook_result"].shape is None and not rows["blocks.0.attn.hook_result"].writable
    lines = str(hook_table(tiny_encoder)).splitlines()
    assert lines[0].split() == ["name", "shape", "writable"] and len(lines) == 1 + len(rows)
    assert len({line.index("[") for line in lines if "[" in line}) == 1
    assert hooks_left(tiny_encoder) == 0

    unused = {row.name: row for row in hook_table(Mixer().eval())}["hook_unused"]
    assert not unused.writable and unused.note == "Its value does not reach the output."


@pytest.mark.parametrize("layers", [1, 3])
def test_a_control_of_fewer_or_more_layers_is_none(layers):
    model, control = (
        build_model(ModelConfig(n, 1, 8, 8), d_vocab=6, d_vocab_out=4, n_ctx=4, seed=0) for n in (2, layers)
    )  # fmt: skip
    with pytest.raises(InputError, match=f"it has n_layers = {layers}, the model 2"):
        require_control("probe", model, control)
    require_control("probe", model, model)
