"""The compiled model is belief propagation: answers, attention, every slot, every filter level; wrong arguments are refused."""

import random
import re
import warnings

import numpy as np
import pytest
import torch
from compiled_cases import KINDS, exact, make_tree, masked_data, normalised

import mechbp
from mechbp.errors import ImpossibleEvidence, InputError, LimitExceeded
from mechbp.models.compiled.bp import compile_bp
from mechbp.models.compiled.slots import Slots
from mechbp.models.compiled.weights import block_rules, leaf_scale
from mechbp.processes.tree.enumeration import enumerate_tree

FILTERED = [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (4, 1), (4, 2), (4, 3), (4, 4), (5, 2)]
DATA_BOUND = 1e-8
"""Largest error allowed on data; 3e-9 is the largest found in 12,000 sequences of depth 5. Required: 1e-5."""
UNIFORM_BOUND = 1e-6
"""The same on uniform sequences, whose messages differ in size by many orders."""


def worst(found, wanted):
    return float(np.abs(found - wanted).max())


def captured(compiled, tokens, names):
    hooks = sorted({compiled.slots[name].readable_from for name in names})
    acts = mechbp.capture(compiled.model, tokens, hooks)
    return {name: compiled.slots[name].of(acts[compiled.slots[name].readable_from]).numpy() for name in names}


@pytest.mark.parametrize("answer", ["leaf", "root"])
@pytest.mark.parametrize(
    "vocab_size", [2, 3, pytest.param(4, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow), 6]
)
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_answers_are_exact_whatever_is_masked(depth, vocab_size, answer):
    for kind in KINDS:
        tree = make_tree(kind, vocab_size, depth)
        tokens = masked_data(tree, 24, depth, vocab_size)
        assert worst(compile_bp(tree, answer=answer).answers(tokens), exact(tree, answer, tokens)) < DATA_BOUND, kind


@pytest.mark.parametrize("answer", ["leaf", "root"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("depth", "filter_level"), FILTERED)
def test_filter_levels_are_exact_too(depth, filter_level, kind, answer):
    tree = make_tree(kind, 3, depth, filter_level)
    tokens = masked_data(tree, 30, depth, filter_level)
    assert worst(compile_bp(tree, answer=answer).answers(tokens), exact(tree, answer, tokens)) < DATA_BOUND


@pytest.mark.parametrize("vocab_size", [2, 4, 6])
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_uniform_sequences_lose_digits_but_no_more(depth, vocab_size):
    tree = make_tree("unambiguous", vocab_size, depth)
    tokens = mechbp.rng(0, "uniform", depth, vocab_size).integers(vocab_size, size=(40, tree.n_leaves))
    assert worst(compile_bp(tree).answers(tokens), tree.leave_one_out(tokens)) < UNIFORM_BOUND


@pytest.mark.parametrize("filter_level", [0, 1, 2])
def test_depth_two_agrees_with_enumeration(filter_level):
    tree = make_tree("arbitrary", 3, 2, filter_level)
    tokens = masked_data(tree, 60, "enumeration")
    summed = enumerate_tree(tree).beliefs(tokens)
    assert worst(compile_bp(tree).answers(tokens), summed.leave_one_out) < 1e-13
    assert worst(compile_bp(tree, answer="root").answers(tokens), summed.marginals[0]) < 1e-13


def test_without_evidence_the_answer_is_the_prior():
    tree = make_tree("arbitrary", 4, 4)
    nothing = np.full((1, 16), tree.mask_token)
    assert worst(compile_bp(tree).answers(nothing)[0], tree.priors[4]) < 1e-13
    assert worst(compile_bp(tree, answer="root").answers(nothing)[0], tree.priors[0]) < 1e-13


@pytest.mark.parametrize(("depth", "vocab_size", "filter_level"), [(2, 2, 0), (3, 6, 1), (4, 4, 0), (4, 3, 4), (5, 3, 0)])
def test_block_m_attends_to_the_sibling_subtree_only_and_evenly(depth, vocab_size, filter_level):
    compiled = compile_bp(make_tree("unambiguous", vocab_size, depth, filter_level))
    tokens = masked_data(compiled.tree, 5, "attention")
    patterns = mechbp.capture(compiled.model, tokens, ["blocks.*.attn.hook_pattern"])
    leaf = np.arange(2**depth)
    level = np.frexp((leaf[:, None] ^ leaf).astype(float))[1]
    for m in range(depth):
        pattern = patterns[f"blocks.{m}.attn.hook_pattern"].numpy()
        assert (pattern == np.where(level == m + 1, 2.0**-m, 0.0)).all()  # exactly, in every bit
        assert ((pattern > 0).sum(axis=-1) == 2**m).all()


@pytest.mark.parametrize(("kind", "filter_level"), [("unambiguous", 0), ("ambiguous", 0), ("arbitrary", 0), ("ambiguous", 2)])
def test_every_slot_holds_the_message_of_its_name(kind, filter_level):
    tree = make_tree(kind, 3, 4, filter_level)
    compiled, tokens = compile_bp(tree), masked_data(tree, 40, "slots")
    beliefs, leaf = tree.beliefs(tokens), np.arange(16)
    found = captured(compiled, tokens, list(compiled.slots))
    for m in range(5):
        depth = 4 - m
        if depth not in beliefs.upward:
            continue  # a copy of the root has no message in the star
        assert worst(normalised(found[f"upward {m}"]), beliefs.upward[depth][:, leaf >> m]) < 1e-12
        if m < 4:
            assert worst(normalised(found[f"sibling {m}"]), beliefs.upward[depth][:, (leaf >> m) ^ 1]) < 1e-12
        joint = found[f"joint {m}"]  # with the downward message of the ancestor it is the leaf's posterior
        own = (joint * beliefs.downward[depth][:, leaf >> m][:, :, None]).sum(axis=-1)
        assert worst(normalised(own), beliefs.downward[4]) < 1e-11
    assert (found["left turns"] + found["right turns"] == 1).all()
    assert (found["right turns"][0] == (leaf[:, None] >> np.arange(3, -1, -1)) & 1).all()


def test_a_message_stays_where_it_was_written():
    compiled = compile_bp(make_tree("ambiguous", 3, 3))
    tokens = masked_data(compiled.tree, 10, "kept")
    acts = mechbp.capture(compiled.model, tokens, ["blocks.*.hook_resid_p*"])
    for slot in compiled.slots.values():
        before, written = True, acts[slot.readable_from] if "mid" not in slot.readable_from else None
        for name, act in acts.items():
            before &= name != (slot.readable_from if written is not None else slot.readable_from.replace("mid", "post"))
            if before:
                assert not slot.of(act).any(), (slot.name, name)
            else:
                written = act if written is None else written
                assert torch.equal(slot.of(act), slot.of(written)), (slot.name, name)


@pytest.mark.parametrize("answer", ["leaf", "root"])
@pytest.mark.parametrize("filter_level", [0, 1, 3])
def test_the_table_names_who_reads_and_writes(filter_level, answer):
    compiled = compile_bp(make_tree("arbitrary", 3, 3, filter_level), answer=answer)
    model = compiled.model
    reads = {"unembed": model.unembed.W_U.abs().sum(1)}
    writes = {"embed": model.embed.W_E.abs().sum(0) + model.pos_embed.W_pos.abs().sum(0)}
    for m, block in enumerate(model.blocks):
        for projection in (block.attn.W_Q, block.attn.W_K, block.attn.W_V):
            reads[f"blocks.{m}.attn"] = reads.get(f"blocks.{m}.attn", 0) + projection[0].abs().sum(1)
        reads[f"blocks.{m}.mlp"] = block.mlp.W_in.abs().sum(1)
        writes[f"blocks.{m}.attn"], writes[f"blocks.{m}.mlp"] = block.attn.W_O[0].abs().sum(0), block.mlp.W_out.abs().sum(0)
    for slot in compiled.slots.values():
        assert {part for part, weight in reads.items() if weight[slot.dims].any()} == set(slot.read_by), slot.name
        assert {part for part, weight in writes.items() if weight[slot.dims].any()} == {slot.written_by}, slot.name
    stops = [0] + [slot.dims.stop for slot in compiled.slots.values()]
    assert [slot.dims.start for slot in compiled.slots.values()] == stops[:-1] and stops[-1] == model.cfg.d_model


def test_logits_are_unnormalised_probabilities_not_log_probabilities():
    tree = make_tree("ambiguous", 3, 3)
    compiled, tokens = compile_bp(tree, answer="root"), masked_data(tree, 20, "logits")
    logits = compiled.model(torch.from_numpy(tokens)).detach()
    # At the root the sum is P(observed leaves) times the scale of each observed leaf.
    observed = (tokens != tree.mask_token).sum(axis=1)
    expected = tree.beliefs(tokens).log_evidence + observed * np.log(leaf_scale(tree))
    assert worst(np.log(logits.sum(-1).numpy()), expected[:, None]) < 1e-11
    assert worst(logits.softmax(-1).numpy(), exact(tree, "root", tokens)) > 0.1


@pytest.mark.parametrize("vocab_size", [2, 3])
def test_evidence_weighs_what_keeps_a_typical_message_near_one(vocab_size):
    """log γ per leaf is the entropy of the sequence, here summed over all sequences: the mean log of the root's message is 0."""
    tree = make_tree("unambiguous", vocab_size, 2)
    sequences = np.array(np.meshgrid(*[range(vocab_size)] * 4)).reshape(4, -1).T
    log_evidence = tree.beliefs(sequences).log_evidence
    entropy = -(np.exp(log_evidence) * log_evidence).sum()
    assert entropy > 1 and abs(4 * np.log(leaf_scale(tree)) - entropy) < 1e-12
    independent = make_tree("unambiguous", vocab_size, 2, 2)  # leaves that share the root only: never more than one by one
    marginals = independent.priors[2]
    assert 4 * np.log(leaf_scale(independent)) <= -(marginals * np.log(marginals)).sum() + 1e-12


def test_answers_follow_edits_and_batches():
    tree = make_tree("ambiguous", 4, 3)
    compiled, tokens = compile_bp(tree), masked_data(tree, 30, "edits")
    assert worst(compiled.answers(tokens, batch_size=7), compiled.answers(tokens)) < 1e-13
    assert compiled.answers(tokens[:0]).shape == (0, 8, 4)
    slot = compiled.slots["sibling 2"]

    def forget(activation):
        activation[..., slot.dims] = 1.0
        return activation

    with mechbp.edit(compiled.model, {slot.readable_from: forget}):
        edited = compiled.answers(tokens)
    for half in (slice(0, 4), slice(4, 8)):  # forgetting the message of the other half is masking it
        hidden = np.full_like(tokens, tree.mask_token)
        hidden[:, half] = tokens[:, half]
        assert worst(edited[:, half], tree.leave_one_out(hidden)[:, half]) < DATA_BOUND


def test_one_message_replaced_gives_the_exact_answer_for_it():
    """Interchange in a named slot: the sibling's message of another sequence, as if the leaves below it were from there."""
    tree = make_tree("ambiguous", 3, 4)
    compiled = compile_bp(tree, answer="root")
    tokens, source = masked_data(tree, 30, "base"), masked_data(tree, 30, "source")
    slot = compiled.slots["upward 2"]
    theirs = slot.of(mechbp.capture(compiled.model, source, [slot.readable_from])[slot.readable_from])

    def interchange(activation):
        activation[:, 4:8, slot.dims] = theirs[:, 4:8]
        return activation

    with mechbp.edit(compiled.model, {slot.readable_from: interchange}):
        edited = compiled.answers(tokens, batch_size=30)
    spliced = tokens.copy()
    spliced[:, 4:8] = source[:, 4:8]
    assert worst(edited, exact(tree, "root", spliced)) < DATA_BOUND
    assert worst(edited, exact(tree, "root", tokens)) > 0.1


def test_two_answers_share_one_residual_stream():
    tree = make_tree("unambiguous", 3, 3)
    tokens = torch.from_numpy(masked_data(tree, 10, "shared"))
    leaf, root = (compile_bp(tree, answer).model(tokens, stop_at_layer=3) for answer in ("leaf", "root"))
    assert torch.equal(leaf, root)


def test_the_model_is_an_ordinary_one_in_float64():
    compiled = compile_bp(make_tree("unambiguous", 4, 4))
    cfg = compiled.model.cfg
    assert (cfg.n_layers, cfg.n_heads, cfg.n_ctx, cfg.d_vocab, cfg.d_vocab_out, cfg.act_fn) == (4, 1, 16, 6, 4, "relu2")
    assert cfg.normalization_type is None and cfg.attention_dir == "bidirectional" and cfg.seed is None
    assert (cfg.d_model, cfg.d_mlp) == (124, 208)  # 9 q + 5 q² + 2 l, and 2 (q³ + 2 q² + 2 q)
    assert {parameter.dtype for parameter in compiled.model.parameters()} == {torch.float64}
    assert not compiled.model.training and compiled.process is compiled.tree and compiled.truth == ()
    assert all(bool(parameter.isfinite().all()) for parameter in compiled.model.parameters())


def test_equal_arguments_give_equal_weights_and_nothing_global_moves(unchecked):  # annotation checks draw from `random`
    tree = make_tree("ambiguous", 3, 3)
    torch_state, legacy_state, python_state = torch.random.get_rng_state(), np.random.get_state()[1], random.getstate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = [compile_bp(tree, activation="relu", knots=4) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), torch_state) and random.getstate() == python_state
    assert (np.random.get_state()[1] == legacy_state).all() and torch.get_default_dtype() == torch.float32
    first, second = (dict(compiled.model.named_parameters()) for compiled in pairs)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_rules_of_the_blocks_are_laws_of_pairs():
    for filter_level in range(4):
        tree = make_tree("arbitrary", 3, 3, filter_level)
        for m in range(3):
            for _, rule in block_rules(tree, m):
                assert (rule >= 0).all() and np.allclose(rule.sum(axis=(1, 2)), 1)


def test_slots_print_and_name_their_neighbours():
    compiled = compile_bp(make_tree("unambiguous", 3, 3))
    header, *lines = compiled.slot_table().splitlines()
    assert header.split()[:2] == ["slot", "dims"] and len(lines) == len(compiled.slots)
    assert re.search(r"^upward 2 +\d+\.\.\d+ +blocks\.1\.mlp +blocks\.2\.attn, blocks\.2\.mlp +upward message of", lines[4], re.M)
    assert "blocks.0-2.attn" in lines[0] and "nothing" in lines[5]
    with pytest.raises(InputError, match="no slot 'upwards 2'; did you mean 'upward 2'"):
        compiled.slots["upwards 2"]
    assert "upward 2" in compiled.slots and "upward 9" not in compiled.slots and isinstance(compiled.slots, Slots)


def test_impossible_evidence_is_refused_by_name():
    rules = np.zeros((2, 2, 2))
    rules[:, 0, 0] = 1.0
    tree = mechbp.FilteredTree(mechbp.TreeGrammar(rules), 2)
    with pytest.raises(ImpossibleEvidence, match=r"no positive logit at leaf 0 of example 1: .* exact squares") as refusal:
        compile_bp(tree).answers(np.array([[0, 0, 0, 0], [0, 1, 1, 0]]))
    assert refusal.value.example == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"answer": "leaves"}, InputError, "answer must be one of leaf, root, got 'leaves'"),
        ({"activation": "gelu"}, InputError, "activation must be one of relu2, relu, got 'gelu'"),
        ({"knots": 8}, InputError, "knots is for activation 'relu'"),
        ({"activation": "relu"}, InputError, "Pass activation='relu', knots=64"),
        ({"activation": "relu", "knots": 1}, InputError, "knots must be an integer in 2..4096, got 1"),
        ({"activation": "relu", "knots": True}, InputError, "got True"),
        ({"activation": "relu", "knots": 8.0}, InputError, "got 8.0"),
        ({"activation": "relu", "knots": 4096}, LimitExceeded, "Lower the vocabulary size, the depth, the filter level or knots"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)) as refusal:
        compile_bp(make_tree("unambiguous", 4, 3), **arguments)
    assert len(str(refusal.value).splitlines()) <= 3


def test_trees_that_do_not_fit_are_refused():
    with pytest.raises(LimitExceeded, match="depth 7; at most 6"):
        compile_bp(make_tree("unambiguous", 2, 7))
    with pytest.raises(LimitExceeded, match="about .* weights"):
        compile_bp(make_tree("unambiguous", 24, 4))
    with pytest.raises(InputError, match="tree must be a FilteredTree, got TreeGrammar"):
        compile_bp(make_tree("unambiguous", 2, 2).grammar)
    with pytest.raises(InputError, match=r"CompiledBP.answers: tokens must have shape \[n, 4\]"):
        compile_bp(make_tree("unambiguous", 2, 2)).answers(np.zeros((1, 3), int))
    with pytest.raises(InputError, match="token 3 of example 0, leaf 0 is out of range"):
        compile_bp(make_tree("unambiguous", 2, 2)).answers(np.full((1, 4), 3))
