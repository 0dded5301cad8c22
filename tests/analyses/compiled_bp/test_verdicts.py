"""How methods are judged on the compiled model: what is known of it is so, and every verdict can fail."""

from dataclasses import replace

import numpy as np
import pytest

import mechbp
from analyses.compiled_bp import interchange, patching, planted, probes
from analyses.compiled_bp.criteria import CRITERIA
from mechbp.models.compiled.bp import compile_bp
from mechbp.models.compiled.planted import correlated_decoy, redundant_copy
from mechbp.study import Study

TREE = mechbp.FilteredTree(mechbp.TreeGrammar.random(4), 3)


@pytest.fixture(scope="module")
def study():
    return Study((), True, lambda text: None)


@pytest.fixture(scope="module")
def compiled():
    return compile_bp(TREE)


@pytest.fixture(scope="module")
def case(study, compiled):
    return patching._case(study, compiled, 1, 2)


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("compiled-exact", {"largest_error": 9.9e-6}, "holds"),
        ("compiled-exact", {"largest_error": 1e-5}, "fails"),
        ("compiled-levels", {"largest_error": 9.9e-6}, "holds"),
        ("compiled-levels", {"largest_error": 1e-5}, "fails"),
        ("compiled-relu", {"widest_kl_nats": [1e-6, 9.9e-4]}, "holds"),
        ("compiled-relu", {"widest_kl_nats": [1e-6, 1e-3]}, "partly"),
        ("compiled-relu", {"widest_kl_nats": [1e-6, None]}, "fails"),
        ("compiled-slots", {"errors": [1e-12, 9.9e-6], "controls": [1.0, 1.1e-5]}, "holds"),
        ("compiled-slots", {"errors": [1e-12, 1e-5], "controls": [1.0, 1.0]}, "fails"),
        ("compiled-slots", {"errors": [1e-12, 1e-12], "controls": [1.0, 1e-5]}, "fails"),
        ("tools-probes", {"largest_missing_r2": 1e-6, "largest_absent_r2": 0.05, "largest_shuffled_r2": 0.05}, "holds"),
        ("tools-probes", {"largest_missing_r2": 1.1e-6, "largest_absent_r2": 0.05, "largest_shuffled_r2": 0.05}, "fails"),
        ("tools-probes", {"largest_missing_r2": 1e-6, "largest_absent_r2": 0.051, "largest_shuffled_r2": 0.05}, "fails"),
        ("tools-probes", {"largest_missing_r2": 1e-6, "largest_absent_r2": 0.05, "largest_shuffled_r2": 0.051}, "fails"),
        ("tools-probes-scale", {"r2_high": [0.89, 0.5]}, "holds"),
        ("tools-probes-scale", {"r2_high": [0.9, 0.5]}, "partly"),
        ("tools-probes-scale", {"r2_high": [0.9, 0.95]}, "fails"),
        ("tools-attention", {"cosine_gap": 9e-10, "js_nats": 9e-10, "p": 0.049}, "holds"),
        ("tools-attention", {"cosine_gap": 1e-9, "js_nats": 0.0, "p": 0.002}, "fails"),
        ("tools-attention", {"cosine_gap": 0.0, "js_nats": 1e-9, "p": 0.002}, "fails"),
        ("tools-attention", {"cosine_gap": 0.0, "js_nats": 0.0, "p": 0.05}, "fails"),
        ("tools-search", {"missing": [1e-6, 0.0], "above_means_low": [0.1, 0.1]}, "holds"),
        ("tools-search", {"missing": [1.1e-6, 0.0], "above_means_low": [0.1, 0.1]}, "partly"),
        ("tools-search", {"missing": [0.0, 0.0], "above_means_low": [0.0, 0.1]}, "fails"),
        ("tools-subspaces", {"worst_explained": [0.8, 0.9]}, "holds"),
        ("tools-subspaces", {"worst_explained": [0.8, 0.79]}, "partly"),
        ("tools-subspaces", {"worst_explained": [-0.6, 0.79]}, "fails"),
        ("planted-probe", {"fooled_r2": [1.0, 0.11]}, "holds"),
        ("planted-probe", {"fooled_r2": [1.0, 0.1]}, "partly"),
        ("planted-probe", {"fooled_r2": [0.0, 0.1]}, "fails"),
    ],
)  # fmt: skip
def test_the_bounds_stand_where_the_criteria_put_them(key, numbers, verdict):
    assert CRITERIA.grade(key, numbers) == verdict


def test_what_a_token_knows_grows_with_the_blocks(compiled):
    """After block 1 leaf 5 holds the message of leaves 4 and 5, after block 2 its cousins' too; the other half waits."""
    holds, blind = probes.known_cells(compiled, 1, 1)
    assert np.flatnonzero(holds[5]).tolist() == [2] and np.flatnonzero(blind[5]).tolist() == [0, 1, 3]
    holds, blind = probes.known_cells(compiled, 1, 2)
    assert np.flatnonzero(holds[5]).tolist() == [2, 3] and np.flatnonzero(blind[5]).tolist() == [0, 1]
    for stage in range(4):
        for m in (1, 2, 3):
            holds, blind = probes.known_cells(compiled, m, stage)
            assert not (holds & blind).any() and holds.any() == (stage >= m)
    assert not probes.known_cells(compiled, 1, 3)[1].any()


def test_probes_of_another_models_messages_fail(study, compiled, monkeypatch):
    monkeypatch.setattr(Study, "size", lambda self, full, quick: quick)
    claims, section = probes.study_probes(study, compiled)
    assert [claim.verdict for claim in claims] == ["holds", "holds"] and len(section.figures) == 1
    swapped = probes._targets
    monkeypatch.setattr(probes, "_targets", lambda compiled, tokens, m: swapped(compiled, np.roll(tokens, 1, axis=0), m))
    assert probes.study_probes(study, compiled)[0][0].verdict == "fails"


def test_one_cell_too_many_or_too_few_fails(case):
    assert patching._patching_claim([case]).verdict == "holds"
    for change in (1e-3, -1.0):
        values = case.effects.values.copy()
        column = int(np.flatnonzero(case.predicted() == (change < 0))[0])
        values[:, column] = case.effects.base if change < 0 else values[:, column] + change
        tampered = replace(case, effects=replace(case.effects, values=values))
        assert patching._patching_claim([tampered]).verdict == "fails"


def test_a_model_that_looks_elsewhere_is_found_out(study, compiled):
    """Blocks 1 and 2 exchanged: differences travel through other cells, and attention is not the theory's."""
    other = compile_bp(TREE)
    first, second = other.model.blocks[0].attn, other.model.blocks[1].attn
    first.W_Q.data, second.W_Q.data = second.W_Q.data.clone(), first.W_Q.data.clone()
    found = patching._case(study, other, 1, 2)
    assert patching._patching_claim([found]).verdict == "fails"
    assert patching._attention_claim(study, other).verdict == "fails"
    assert patching._attention_claim(study, compiled).verdict == "holds"


def test_the_right_slot_is_the_one_that_is_read_next(study, compiled):
    tests = [interchange._slot_tests(study, compiled, level) for level in range(3)]
    assert interchange._written_claim(compiled, tests).verdict == interchange._erased_claim(compiled, tests).verdict == "holds"
    right, null = tests[1].truth(compiled)
    names = list(compiled.slots)
    assert {(names[row], stage) for row, stage in zip(*np.nonzero(right), strict=True)} == {("upward 0", 0), ("upward 1", 1)}
    assert null.sum() == right.size - 3  # two are right, one is part of another message
    for cells, value in ((right, 0.99), (null, 0.01)):
        written = tests[1].written.copy()
        written[tuple(np.argwhere(cells)[0])] = value
        assert interchange._written_claim(compiled, [replace(tests[1], written=written)]).verdict == "fails"
    assert interchange._erased_claim(compiled, [replace(tests[1], erased=tests[1].erased * 0.99)]).verdict == "fails"


def test_planted_slots_are_judged_by_what_is_so(study):
    copy, decoy = (planted._tests(study, name, plant(TREE, 2)) for name, plant in (
        ("redundant copy", redundant_copy), ("correlated decoy", correlated_decoy)
    ))  # fmt: skip
    assert planted._causal_claim([copy, decoy]).verdict == planted._zero_claim([copy]).verdict == "holds"
    blamed = {slot: found | {planted.WRITTEN: 0.5} for slot, found in decoy.found.items()}
    assert planted._causal_claim([copy, replace(decoy, found=blamed)]).verdict == "fails"
    needed = {slot: found | {planted.ZEROED: 0.5} for slot, found in copy.found.items()}
    assert planted._zero_claim([replace(copy, found=needed)]).verdict == "fails"
    spared = {slot: found | {planted.TOGETHER: 0.5} for slot, found in copy.found.items()}
    assert planted._zero_claim([replace(copy, found=spared)]).verdict == "fails"


def test_pairs_seen_from_beside_ask_below_the_sibling(study):
    pairs = planted.message_pairs(TREE, "masked", 1, 60, study.rng("pairs"))
    beside = planted._seen_from_beside(pairs, TREE)
    rows = np.arange(len(beside))
    assert len(beside) == len(pairs)  # at depth 1 every query outside the node is below its sibling
    assert beside.positions[rows, beside.query].all() and not (beside.positions & pairs.positions).any()
