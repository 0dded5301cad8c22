"""Traps built into a small model are found on every line of TransformerLens, and sound models pass."""

import gc
import weakref

import pytest
import torch
from torch import nn

import mechbp
from mechbp import hook_check
from mechbp.errors import HookError
from mechbp.hook_check import can_restart, check_model, require_sound
from mechbp.methods.patching.patch import patch
from mechbp.models.architectures import HookedRootModule, HookPoint, build_model
from mechbp.models.config import ModelConfig


class Toy(HookedRootModule):
    """One block with a residual stream, and one trap, or none."""

    def __init__(self, trap=""):
        super().__init__()
        self.trap, self.cfg = trap, type("Cfg", (), {"n_ctx": 4, "d_vocab": 5})()
        self.embed = nn.Embedding(5, 6)
        with torch.no_grad():
            self.embed.weight.copy_((1.3 * torch.arange(30.0)).sin().view(5, 6))
            self.mixing = nn.Parameter((0.7 * torch.arange(36.0)).cos().view(6, 6))
        block = nn.Module()
        for hook in ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post", "hook_mlp_in"):
            setattr(block, hook, HookPoint())
        block.attn = nn.Module()
        for hook in ("hook_v", "hook_attn_scores", "hook_pattern", "hook_z"):
            setattr(block.attn, hook, HookPoint())
        self.blocks = nn.ModuleList([block])
        self.setup()
        if trap == "two names":
            self.hook_dict["blocks.0.hook_attention"] = block.hook_attn_out
        self.eval()

    def forward(self, tokens, start_at_layer=None, stop_at_layer=None):
        block, trap = self.blocks[0], self.trap
        residual = self.embed(tokens) if start_at_layer is None else tokens
        beside = 0.3 * residual if trap in ("past the start", "past the end") else 0
        if start_at_layer != 1:
            if stop_at_layer == 0:
                return residual
            residual = self._block(block, block.hook_resid_pre(residual), trap)
        if stop_at_layer is not None and trap != "stops late":
            return residual
        return 2 * residual if trap == "starts elsewhere" and start_at_layer == 1 else (residual + beside).sin() @ self.mixing

    def _block(self, block, before, trap):
        attention = block.attn
        value = attention.hook_v((before @ self.mixing)[:, :, None])
        raw = torch.einsum("bqd,bkd->bqk", before, before)[:, None]
        if trap == "scores after softmax":
            pattern = attention.hook_attn_scores(attention.hook_pattern(raw.softmax(-1)))
        else:
            kept = attention.hook_attn_scores(raw)
            pattern = attention.hook_pattern((raw if trap == "scores thrown away" else kept).softmax(-1))
        mixed = raw.softmax(-1) if trap == "pattern beside" else pattern
        moved = (value + (before @ self.mixing)[:, :, None]) / 2 if trap == "half of the value" else value
        z = attention.hook_z(torch.einsum("bhqk,bkhd->bqhd", mixed, moved))
        beside = torch.einsum("bhqk,bkhd->bqhd", pattern, value) if trap == "pattern beside" else 0 * z
        out = (z + (beside - z if trap == "pattern beside" else 0)).flatten(2)
        written = block.hook_attn_out(out)
        middle = before + (out if trap == "attention beside" else written)
        if trap == "attention beside":
            middle = middle + 0.5 * (written - out)
        seen = block.hook_resid_mid(middle)
        skipped = middle if trap == "skip path" else seen
        added = (seen @ self.mixing).relu()
        written = block.hook_mlp_out(added)
        if trap == "half of the MLP":
            written = added + 0.5 * (written - added)
        after = skipped + written
        if trap == "shows a rounded copy":
            shown = after.round()
            found = block.hook_resid_post(shown)
            return after if found is shown else found
        return block.hook_resid_post(after)


TOKENS = torch.tensor([[0, 1, 2, 3], [4, 0, 2, 1], [3, 3, 0, 4]])
TRAPS = {
    "skip path": ("blocks.0.hook_resid_mid", "a skip path goes past it"),
    "past the start": ("blocks.0.hook_resid_pre", "a skip path goes past it"),
    "past the end": ("blocks.0.hook_resid_post", "a skip path goes past it"),
    "scores thrown away": ("blocks.0.attn.hook_attn_scores", "edits are thrown away"),
    "scores after softmax": ("blocks.0.attn.hook_attn_scores", "it shows the attention pattern, after the softmax"),
    "attention beside": ("blocks.0.hook_attn_out", "does not arrive at hook_resid_mid"),
    "pattern beside": ("blocks.0.attn.hook_pattern", "does not arrive at attn.hook_z"),
    "half of the value": ("blocks.0.attn.hook_v", "does not arrive at attn.hook_z"),
    "half of the MLP": ("blocks.0.hook_mlp_out", "does not arrive at hook_resid_post"),
    "shows a rounded copy": ("blocks.0.hook_resid_post", "its own value written back changes the output"),
    "stops late": ("stop_at_layer=1", "which is not the input of that block"),
    "starts elsewhere": ("start_at_layer=1", "which is not the output of the whole run"),
}


def by_name(model):
    return {row.name: row for row in check_model(model, TOKENS)}


def test_nothing_is_found_where_nothing_is_wrong():
    rows = by_name(Toy())
    assert [row for row in rows.values() if row.verdict == "unsound"] == []
    assert rows["blocks.0.hook_mlp_in"].verdict == "silent" and "use_hook_mlp_in" in rows["blocks.0.hook_mlp_in"].reason
    assert {"start_at_layer=0", "stop_at_layer=1"} <= set(rows)


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_is_found(trap):
    name, reason = TRAPS[trap]
    row = by_name(Toy(trap))[name]
    assert row.verdict == "unsound" and reason in row.reason
    if "layer" in name:
        assert not can_restart(Toy(trap), TOKENS) and can_restart(Toy(), TOKENS)
        return
    with pytest.raises(HookError, match=f"patch: {name} of this Toy is not what it is called: .*{reason}"):
        require_sound("patch", Toy(trap), [name], TOKENS)


@pytest.mark.parametrize("rows", [[0, 1, 0], [0], [0, 0]])
def test_a_trap_is_found_whichever_sequences_are_alike(rows):
    found = {row.name: row.verdict for row in check_model(Toy("skip path"), TOKENS[rows])}
    assert found["blocks.0.hook_resid_mid"] == "unsound" and found["blocks.0.hook_resid_post"] == "sound"


class OfTokens(nn.Module):
    """A model whose first hook shows the tokens themselves, whole numbers."""

    def __init__(self):
        super().__init__()
        self.cfg = type("Cfg", (), {"n_ctx": 4})()
        self.embed = nn.Parameter((1.3 * torch.arange(30.0)).sin().view(5, 6))
        self.hook_dict = {"hook_tokens": nn.Identity()}

    def forward(self, tokens):
        return self.embed[self.hook_dict["hook_tokens"](tokens)]

    def run_with_hooks(self, tokens, fwd_hooks=()):
        return self(tokens)

    def run_with_cache(self, tokens):
        return self(tokens), {}


def test_whole_numbers_are_written_over_by_others_that_every_vocabulary_has():
    (row,) = check_model(OfTokens().eval(), torch.zeros((2, 4), dtype=torch.int64))
    assert (row.verdict, row.shape) == ("sound", ("batch", 4))
    (shown,) = mechbp.hook_table(OfTokens().eval())
    assert shown.writable and shown.shape == ("batch", 4)


def test_a_point_of_two_names_is_told_and_asked_for_once():
    model = Toy("two names")
    assert by_name(model)["blocks.0.hook_attn_out"].other_names == ("blocks.0.hook_attention",)
    with pytest.raises(HookError, match="hook_attn_out and blocks.0.hook_attention are one point of this Toy. Name one"):
        require_sound("patch", model, ["blocks.0.hook_attn_out", "blocks.0.hook_attention"], TOKENS)


def test_a_dead_weight_is_no_trap():
    model = Toy()
    with torch.no_grad():
        model.mixing.zero_()
    row = by_name(model)["blocks.0.hook_resid_pre"]
    assert row.verdict == "no effect" and "leave the output as it is" in row.reason
    require_sound("patch", model, ["blocks.0.hook_resid_pre"], TOKENS)


def test_what_had_no_effect_is_tried_again_once_it_has_one():
    model, name = Toy("skip path"), "blocks.0.hook_resid_mid"
    kept = model.mixing.detach().clone()
    with torch.no_grad():
        model.mixing.zero_()
    require_sound("patch", model, [name], TOKENS)
    with torch.no_grad():
        model.mixing.copy_(kept)
    with pytest.raises(HookError, match="a skip path goes past it"):
        require_sound("patch", model, [name], TOKENS)


def test_differences_count_from_a_ten_thousandth_of_the_largest_value_on():
    for scale in (1.0, 300.0):
        expected = scale * torch.tensor([1.0, 0.5])
        assert hook_check._close(expected + 0.9e-4 * scale, expected)
        assert not hook_check._close(expected + 1.2e-4 * scale, expected)
    assert not hook_check._close(torch.ones(1, 2), torch.ones(2)) and not hook_check._close(None, torch.ones(2))


def test_a_hook_is_tried_once_while_the_model_lives_and_anew_where_its_point_was_exchanged(monkeypatch):
    tried = []
    real = hook_check._Trial.checked
    monkeypatch.setattr(hook_check._Trial, "checked", lambda self, name: tried.append(name) or real(self, name))
    model, name = Toy(), "blocks.0.hook_resid_mid"
    for _ in range(2):
        require_sound("patch", model, [name], TOKENS)
    assert tried == [name]
    model.blocks[0].hook_resid_mid = model.hook_dict[name] = HookPoint()
    require_sound("patch", model, [name], TOKENS)
    assert tried == [name] * 2
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_models_of_our_own_are_not_tried(monkeypatch):
    monkeypatch.setattr(hook_check._Trial, "__init__", lambda *_: pytest.fail("tried"))
    config = ModelConfig(n_layers=1, n_heads=1, d_model=8, d_mlp=8)
    model = build_model(config, d_vocab=5, d_vocab_out=5, n_ctx=4, seed=0)
    effects = patch(model, TOKENS, TOKENS.flip(0), lambda logits: logits[:, -1, 0], "blocks.*.hook_resid_mid")
    assert len(effects.cells) == 4 and can_restart(model, TOKENS)


def test_the_table_prints_aligned_and_becomes_a_frame():
    found = mechbp.check_model(Toy("two names"), TOKENS)
    lines = str(found).splitlines()
    column = lines[0].index("a write is")
    assert all(line[column:].startswith(row.verdict) for line, row in zip(lines[1:], found, strict=True))
    assert "also named blocks.0.hook_attention" in str(found)
    frame = found.to_dataframe()
    assert list(frame.name) == [row.name for row in found] and set(frame.verdict) <= {"sound", "silent", "no effect"}
