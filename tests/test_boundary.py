"""What public functions are given: models that are not finite, names that are taken, unusual forms, sizes without end."""

import copy

import numpy as np
import pytest
import torch
from nonsense.calls import grammar, hmm, leaves, lists, model, run, topics, tree

import mechbp
from mechbp.arguments import LARGEST, check_memory, checked_count, checked_number, memory_limit, told, told_text
from mechbp.errors import InputError, LimitExceeded, MechbpError
from mechbp.finite import NotFinite, check_finite, check_parameters, check_rows
from mechbp.methods.interchange.interchange import interchange
from mechbp.methods.interchange.subspaces import Subspace
from mechbp.theory.tree.message_pairs import message_pairs

HOOK = "blocks.0.hook_resid_post"
RESIDUAL, QUERIES = "blocks.0.mlp.W_out", "blocks.1.attn.W_Q"
"""What makes the residual stream NaN from block 0 on, and what TransformerLens hides in a pattern of zeros."""


def broken(parameter, value):
    twin = copy.deepcopy(model())
    with torch.no_grad():
        dict(twin.named_parameters())[parameter].view(-1)[3] = value
    return twin


def stream():
    return mechbp.rng(0, "boundary")


def first(logits):
    return logits[:, 0, 0]


METHODS = {
    "capture": lambda m: mechbp.capture(m, leaves()[:4], HOOK),
    "probe": lambda m: mechbp.probe(m, leaves(), {"up": tree().beliefs(leaves()).upward[1]}, HOOK, rng=stream(), resamples=5),
    "patch": lambda m: mechbp.patch(m, leaves()[:4], leaves()[4:8], first, "blocks.0.hook_resid_pre"),
    "interchange": lambda m: mechbp.interchange(m, tree(), HOOK, 2, rng=stream(), n=8, n_fit=40),
    "interchange before it": lambda m: mechbp.interchange(m, tree(), "hook_embed", 2, rng=stream(), n=8, n_fit=40),
    "erase": lambda m: mechbp.erase(m, tree(), "hook_embed", 2, rng=stream(), n=8, n_fit=40),
    "compare_attention": lambda m: mechbp.compare_attention(m, leaves()[:4], "uniform", permutations=3),
    "circuits": lambda m: mechbp.circuits(m, variant="raw"),
    "score": lambda m: mechbp.score(m, tree(), task="masked", n=4, rng=stream()),
    "hook_table": mechbp.hook_table,
    "check_model": lambda m: mechbp.check_model(m, leaves()[:4]),
}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_is_not_finite_is_refused_by_every_method(method, value):
    METHODS[method](model())
    with pytest.raises(NotFinite, match=r"nan|inf|is 0 for every key") as refused:
        METHODS[method](broken(RESIDUAL, value))
    assert len(str(refused.value).splitlines()) <= 3


def test_the_error_names_hook_layer_example_and_position():
    with pytest.raises(
        NotFinite, match=r"capture: blocks.0.hook_resid_post is nan at layer 0, example 0, position 0, entry \[3\]"
    ):
        mechbp.capture(broken(RESIDUAL, np.nan), leaves()[:4], HOOK)
    value = torch.zeros(2, 3, 4)
    value[1, 2, 3] = torch.inf
    with pytest.raises(NotFinite, match=r"x: blocks.7.hook_z is inf at layer 7, example 11, position 2, entry \[3\]"):
        check_finite("x", "blocks.7.hook_z", value, first=10)


def test_a_token_that_alone_is_broken_is_found_behind_rebuilt_activations():
    """The weights reproduce the model on the first sequences, which do not show the token."""
    twin = copy.deepcopy(model())
    with torch.no_grad():
        twin.embed.W_E[3] = torch.nan
    tokens = leaves().copy()
    tokens[:20] %= 3
    at = int(np.flatnonzero((tokens == 3).any(axis=1))[0])
    with pytest.raises(NotFinite, match=f"is nan at layer 0, example {at}, position"):
        mechbp.probe(twin, tokens, {"up": tree().beliefs(leaves()).upward[1]}, HOOK, rng=stream(), resamples=5)


def test_patterns_that_transformerlens_makes_zero_are_refused():
    twin = broken(QUERIES, np.nan)
    assert mechbp.capture(twin, leaves()[:4], "blocks.1.attn.hook_pattern")["blocks.1.attn.hook_pattern"].isfinite().all()
    with pytest.raises(NotFinite, match="hook_pattern is 0 for every key at layer 1, example 0, head 0, query 0"):
        mechbp.compare_attention(twin, leaves()[:4], "uniform", permutations=3)


def test_masked_scores_and_sums_that_overflow_are_finite_enough():
    scores = torch.zeros(1, 1, 2, 2)
    scores[..., 0, 1] = -torch.inf
    assert check_finite("x", "blocks.0.attn.hook_attn_scores", scores) is scores
    with pytest.raises(NotFinite, match="head 0, query position 0, key position 1"):
        check_finite("x", "blocks.0.attn.hook_pattern", scores)
    scores[..., 1, 0] = torch.inf
    with pytest.raises(NotFinite, match="inf at layer 0, example 0, head 0, query position 1, key position 0 .1 of 4 values"):
        check_finite("x", "blocks.0.attn.hook_attn_scores", scores)
    large = torch.full((4, 4), 6e4, dtype=torch.float16)
    assert check_finite("x", "logits", large) is large


def test_a_row_of_zeros_is_told_from_a_key_that_nobody_sees():
    pattern = torch.zeros(2, 3, 4, 4)
    pattern[..., 1] = 1.0
    assert check_rows("x", "blocks.5.attn.hook_pattern", pattern) is pattern
    pattern[1, 2, 3, 1] = 0
    with pytest.raises(NotFinite, match="0 for every key at layer 5, example 1, head 2, query 3"):
        check_rows("x", "blocks.5.attn.hook_pattern", pattern)


def test_a_weight_that_is_no_number_is_named_with_its_entry():
    layer = torch.nn.Linear(2, 3)
    check_parameters("x", layer)
    with torch.no_grad():
        layer.weight[2, 1] = -torch.inf
    with pytest.raises(NotFinite, match=r"x: the weight weight\[2, 1\] is -inf \(1 of 6 are"):
        check_parameters("x", layer)


@pytest.mark.parametrize("name", ["nothing", "whole vector", "a, placebo", "a, another source", "a, other messages"])
def test_an_edit_cannot_take_the_name_of_a_control(name):
    own = Subspace(name, np.eye(8)[None, :, :2])
    with pytest.raises(InputError, match="cannot be named"):
        mechbp.interchange(model(), tree(), HOOK, 2, own, rng=stream(), n=8, n_fit=40)
    pairs = message_pairs(tree(), "masked", 2, 8, stream())
    with pytest.raises(InputError, match="cannot be named"):
        interchange(model(), pairs, HOOK, {name: own}, rng=stream())
    assert interchange(model(), pairs, HOOK, {"mine": own}, rng=stream()).edits[:3] == ("nothing", "whole vector", "mine")


@pytest.mark.parametrize("reading", [lambda x: x, torch.sum, lambda x: x[:1], lambda x: None, lambda x: 1 / 0])
def test_a_reading_must_be_log_probabilities(reading):
    with pytest.raises(InputError, match="interchange: reading"):
        mechbp.interchange(model(), tree(), HOOK, 2, rng=stream(), n=8, n_fit=40, reading=reading)


def test_a_reading_of_ones_own_gives_what_softmax_gives():
    found, own = (
        mechbp.interchange(model(), tree(), HOOK, 2, rng=stream(), n=8, n_fit=40, reading=reading)
        for reading in (None, lambda logits: logits.double().log_softmax(-1))
    )
    for edit in found.edits:
        np.testing.assert_array_equal(found.target_kl_nats[edit], own.target_kl_nats[edit])


def test_tokens_in_any_memory_layout_are_taken(unchecked):
    expected = mechbp.capture(model(), leaves()[:5], HOOK)[HOOK]
    for tokens in (np.asfortranarray(leaves()[:5]), torch.from_numpy(leaves()[:5].T.copy()).T, leaves()[:5].tolist()):
        torch.testing.assert_close(mechbp.capture(model(), tokens, HOOK)[HOOK], expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("subspace", ["means", "rotation"])
def test_models_in_half_precision_are_taken(dtype, subspace, capsys):
    half = copy.deepcopy(model()).to(dtype)
    found = mechbp.interchange(half, tree(), HOOK, 2, subspace, rng=stream(), n=8, n_fit=40)
    whole = mechbp.interchange(model(), tree(), HOOK, 2, "means", rng=stream(), n=8, n_fit=40)
    np.testing.assert_allclose(found.target_kl_nats["nothing"], whole.target_kl_nats["nothing"], rtol=0.1, atol=0.02)


@pytest.mark.parametrize("question", ["beliefs", "log_evidence", "messages", "constrained_beliefs"])
def test_chains_answer_about_no_sequences(question):
    found = getattr(hmm(), question)(np.empty((0, 5), int))
    assert len(found.log_evidence if question == "messages" else found) == 0


COMPLEX = np.zeros((1, 1, 1)) + (1 + 0j)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mechbp.HiddenMarkovModel(COMPLEX),
        lambda: mechbp.HiddenMarkovModel(hmm().transitions, start=np.array([1, 0, 0]) + 0j),
        lambda: hmm().predictive(np.array([[1, 0, 0]]) + 0j),
        lambda: mechbp.TreeGrammar(grammar().rules + 0j),
        lambda: mechbp.TopicModel(topics().word_given_topic + 0j, 0.5),
        lambda: mechbp.TopicModel(topics().word_given_topic, np.array([1, 1]) + 0j),
    ],
)
def test_complex_numbers_are_refused_and_keep_their_imaginary_part(make):
    with pytest.raises(InputError, match="complex128"):
        make()


def test_a_control_model_of_another_architecture_is_refused():
    from mechbp.models.architectures import build_model
    from mechbp.models.config import ModelConfig

    shallow = build_model(ModelConfig(n_layers=1, n_heads=2, d_model=8, d_mlp=8), d_vocab=6, d_vocab_out=4, n_ctx=4, seed=0)
    with pytest.raises(InputError, match="compare_attention: control_model must be .* n_layers = 1, the model 2"):
        mechbp.compare_attention(model(), leaves()[:4], "uniform", control_model=shallow)
    with pytest.raises(InputError, match="probe: control_model must be .* n_layers = 1, the model 2"):
        mechbp.probe(
            model(), leaves(), {"up": tree().beliefs(leaves()).upward[1]}, HOOK, rng=stream(), control_model=shallow
        )  # fmt: skip


def loss(parameters, _):
    return (parameters["w"] ** 2).sum()


def fewest(**sizes):
    return mechbp.llc(loss, {"w": torch.zeros(2, dtype=torch.float64)}, [None], rng=stream(), **sizes)


HUGE = 10**13
SIZES = {
    "trees": lambda: tree().sample(HUGE, stream()),
    "chains": lambda: hmm().sample(HUGE, stream(), 4),
    "length": lambda: hmm().sample(3, stream(), HUGE),
    "topics": lambda: topics().sample(HUGE, stream(), 4),
    "document": lambda: topics().sample(3, stream(), (1, HUGE)),
    "lists": lambda: lists().sample(HUGE, stream()),
    "topic table": lambda: mechbp.TopicModel.disjoint(10**6, 10**6, 0.1),
    "depth": lambda: mechbp.FilteredTree(grammar(), 10**30),
    "digits": lambda: mechbp.FilteredTree(grammar(), 10**5000),
    "llc chains": lambda: fewest(chains=HUGE),
    "llc draws": lambda: fewest(draws=HUGE),
    "llc burn-in": lambda: fewest(burn_in=HUGE),
    "score": lambda: mechbp.score(model(), tree(), task="masked", n=HUGE, rng=stream()),
    "pairs": lambda: mechbp.judge(lambda question: [], pairs=HUGE),
    "inputs": lambda: mechbp.judge(lambda question: [], inputs=HUGE),
    "interchange": lambda: mechbp.interchange(model(), tree(), HOOK, 2, rng=stream(), n=HUGE),
    "fit": lambda: mechbp.erase(model(), tree(), HOOK, 2, rng=stream(), n_fit=HUGE),
    "position": lambda: mechbp.interchange(model(), hmm(), HOOK, position=HUGE, rng=stream()),
    "permutations": lambda: mechbp.compare_attention(model(), leaves()[:4], "uniform", permutations=HUGE),
    "resamples": lambda: mechbp.compare_attention(model(), leaves()[:4], "uniform", resamples=HUGE),
}


@pytest.mark.parametrize("size", SIZES)
def test_sizes_that_memory_cannot_hold_are_refused_before_they_are_asked_for(size):
    with pytest.raises(LimitExceeded) as refused:
        SIZES[size]()
    assert len(str(refused.value)) < 400


def test_the_estimate_is_in_the_message(monkeypatch):
    monkeypatch.setattr("mechbp.arguments.memory_limit", lambda: 2**20)
    with pytest.raises(LimitExceeded, match=r"1,000,000 trees of 4 leaves would take about 0.1 GiB; this machine has 0.0 GiB"):
        tree().sample(10**6, stream())
    with pytest.raises(LimitExceeded, match="capture: a batch of 120 sequences|capture: .* hooks of 120 sequences"):
        monkeypatch.setattr("mechbp.arguments.memory_limit", lambda: 2**12)
        mechbp.capture(model(), leaves(), HOOK, batch_size=2)
    check_memory(2**12, "x", "y")


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, None, "x"])
def test_batch_sizes_are_positive_integers(batch_size):
    for ask in (
        lambda: mechbp.capture(model(), leaves()[:4], HOOK, batch_size=batch_size),
        lambda: mechbp.patch(model(), leaves()[:4], leaves()[4:8], first, HOOK, batch_size=batch_size),
    ):
        with pytest.raises(InputError, match="batch_size must be an integer >= 1"):
            ask()


@pytest.mark.parametrize("sigma", [0, 1, 1e3, 1e150, 1e300])
@pytest.mark.parametrize("ambiguity", [0.0, 0.5])
@pytest.mark.filterwarnings("error")
def test_grammars_of_any_sigma_are_distributions_without_a_warning(sigma, ambiguity):
    rules = mechbp.TreeGrammar.random(4, sigma, ambiguity=ambiguity).rules
    np.testing.assert_allclose(rules.sum(axis=(1, 2)), 1, rtol=0, atol=1e-12)


def test_values_are_told_in_one_short_line():
    class Silent:
        def __repr__(self):
            raise RuntimeError

    assert told(Silent()) == "a Silent" and told(10**5000) == "a int" and "\n" not in told("a\nb")
    assert len(told(np.zeros((99, 99)))) <= 60


def test_numbers_are_what_they_say():
    assert checked_count(np.uint8(3), "x", "n") == 3 and type(checked_count(np.uint8(3), "x", "n")) is int
    assert checked_number(np.float32(0.5), "x", "p", least=0, below=1) == 0.5
    for wrong in (True, 2.0, "2", None, np.bool_(True)):
        with pytest.raises(MechbpError, match="x: n must be an integer >= 1"):
            checked_count(wrong, "x", "n")
    for wrong in (True, np.nan, np.inf, 1, -0.1, "0.5", 1j, 10**400):
        with pytest.raises(MechbpError, match="x: p must be a finite number >= 0 and < 1"):
            checked_number(wrong, "x", "p", least=0, below=1)


def test_bounds_are_closed_or_open_as_they_are_named():
    for count in (2, 5):
        assert checked_count(count, "x", "n", least=2, most=5) == count
    for count in (1, 6):
        with pytest.raises(InputError, match=rf"x: n must be an integer in 2..5, got {count}: that many there are\."):
            checked_count(count, "x", "n", least=2, most=5, why="that many there are")
    with pytest.raises(LimitExceeded, match="is more than any array holds"):
        checked_count(LARGEST + 1, "x", "n")
    assert checked_count(LARGEST, "x", "n") == LARGEST
    assert checked_number(0, "x", "p", least=0, most=1) == 0 and checked_number(1, "x", "p", least=0, most=1) == 1
    for number in (0, 1):
        with pytest.raises(InputError, match="x: p must be a finite number > 0 and < 1"):
            checked_number(number, "x", "p", above=0, below=1)


def test_a_line_has_the_width_that_it_may_have():
    assert told_text("a" * 80) == "a" * 80 and told_text("a" * 81) == "a" * 79 + "…"
    assert told("b" * 99, 10) == "'bbbbbbbb…"


def test_memory_is_that_of_the_container_where_it_has_less(tmp_path, monkeypatch):
    bound = tmp_path / "memory.max"
    monkeypatch.setattr("mechbp.arguments.CGROUP", bound)
    machine = memory_limit()
    for text, limit in (("4096\n", 4096), ("max\n", machine), (str(2 * machine), machine)):
        bound.write_text(text)
        assert memory_limit() == limit
    bound.write_text("4096")
    check_memory(4096, "x", "y")
    with pytest.raises(LimitExceeded):
        check_memory(4097, "x", "y")


@pytest.mark.parametrize(
    "wrong",
    [{"run": odd} for odd in (3, None, b"x", {"a": 1}, [3], ["no-such-run"], [])]
    + [{"pages": odd} for odd in (3, [3], b"x", "no-such-page", {"a"})]
    + [{"out": odd} for odd in (3, None, [], b"x")]
    + [{"quick": odd} for odd in (1, None, "yes")]
    + [{"trust": 1}],
)
def test_pages_of_nonsense_are_refused(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MechbpError) as refused:
        mechbp.report(**{"run": run(), "pages": ["exact_answers"], "out": "pages", "quick": True, **wrong})
    assert len(str(refused.value).splitlines()) <= 3
