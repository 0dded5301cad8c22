"""Every public function with arguments that are right, and what is true of its result, whatever they are."""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import mechbp
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig

LOG_2 = math.log(2)


@dataclass(frozen=True)
class Call:
    """One public function."""

    name: str
    function: Callable
    valid: Callable[[], dict]
    """Fresh arguments, by name."""
    right: Callable
    """right(result, arguments) raises AssertionError for a wrong result."""


CALLS: dict[str, Call] = {}


def call(name, function, /, **valid):
    """Register what follows as the check of a public function's result; arguments that are functions are called for a value."""

    def register(right):
        arguments = lambda: {key: value() if isinstance(value, functools.partial) else value for key, value in valid.items()}  # noqa: E731
        CALLS[name] = Call(name, function, arguments, right)
        return right

    return register


@functools.cache
def model():
    config = ModelConfig(n_layers=2, n_heads=2, d_model=8, d_mlp=8)
    return build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=4, seed=0)


@functools.cache
def other_model():
    config = ModelConfig(n_layers=2, n_heads=2, d_model=8, d_mlp=8)
    return build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=4, seed=1)


@functools.cache
def grammar():
    return mechbp.TreeGrammar.random(vocab_size=4, seed=0)


@functools.cache
def tree():
    return mechbp.FilteredTree(grammar(), depth=2)


@functools.cache
def hmm():
    return mechbp.mess3(0.1, 0.6)


@functools.cache
def topics():
    return mechbp.TopicModel.disjoint(2, 2, alpha=0.5)


@functools.cache
def lists():
    return mechbp.SortedLists(vocab_size=5, length=2)


@functools.cache
def leaves(n=120):
    return tree().sample(n, mechbp.rng(0, "leaves")).tokens


@functools.cache
def run():
    return mechbp.Run.from_model(model(), tree(), task="masked", name="mine")


def stream():
    return mechbp.rng(0, "call")


fresh_rng = functools.partial(stream)


def sums_to_one(values):
    values = np.asarray(values, np.float64)
    assert np.isfinite(values).all() and (values >= 0).all()
    np.testing.assert_allclose(values.sum(axis=-1), 1, rtol=0, atol=1e-9)


def rows(tokens):
    return np.asarray(tokens)


# Trees.


@call("TreeGrammar", mechbp.TreeGrammar, rules=np.full((2, 2, 2), 0.25), root_prior=np.array([0.5, 0.5]))
def _(found, _):
    sums_to_one(found.rules.reshape(found.vocab_size, -1))
    sums_to_one(found.root_prior)


@call("TreeGrammar.random", mechbp.TreeGrammar.random, vocab_size=3, sigma=1.0, seed=0, recipe="paper", ambiguity=0.0)
def _(found, given):
    assert found.vocab_size == given["vocab_size"]
    sums_to_one(found.rules.reshape(found.vocab_size, -1))


@call("FilteredTree", mechbp.FilteredTree, grammar=functools.partial(grammar), depth=2, filter_level=0)
def _(found, given):
    assert found.n_leaves == 2 ** int(given["depth"]) and type(found.depth) is int


@call("FilteredTree.sample", lambda **k: tree().sample(**k), n=3, rng=fresh_rng)
def _(found, given):
    assert found.tokens.shape == (given["n"], 4) and ((found.tokens >= 0) & (found.tokens < 4)).all()


@call("FilteredTree.beliefs", lambda **k: tree().beliefs(**k), tokens=functools.partial(lambda: leaves()[:3]), observed=None)
def _(found, given):
    sums_to_one(found.marginals[0])
    observed = given["observed"]
    for i in range(len(found.log_evidence)):
        one = tree().beliefs(rows(given["tokens"])[i : i + 1], None if observed is None else rows(observed)[i : i + 1])
        np.testing.assert_allclose(one.upward[2][0], found.upward[2][i], rtol=0, atol=1e-12)


@call("FilteredTree.leave_one_out", lambda **k: tree().leave_one_out(**k), tokens=functools.partial(lambda: leaves()[:3]))
def _(found, given):
    sums_to_one(found)
    np.testing.assert_allclose(found, tree().beliefs(given["tokens"]).downward[2], rtol=0, atol=1e-9)


@call("FilteredTree.posteriors", lambda **k: tree().posteriors(**k), tokens=functools.partial(lambda: leaves()[:3]))
def _(found, given):
    np.testing.assert_allclose(found.root, tree().beliefs(given["tokens"]).marginals[0][:, 0], rtol=0, atol=1e-9)


@call(
    "FilteredTree.check_tokens",
    lambda **k: tree().check_tokens(**k),
    tokens=functools.partial(lambda: leaves()[:3]),
    where="here",
    observed=None,
)
def _(found, _):
    assert found.dtype == np.int64 and found.shape[1] == 4


# Chains.


@call(
    "HiddenMarkovModel",
    mechbp.HiddenMarkovModel,
    transitions=functools.partial(lambda: hmm().transitions),
    start=None,
    length=None,
)
def _(found, _):
    sums_to_one(found.transitions.transpose(1, 0, 2).reshape(found.n_states, -1))
    np.testing.assert_allclose(found.start.sum(), 1, rtol=0, atol=1e-9)


@call("HiddenMarkovModel.sample", lambda **k: hmm().sample(**k), n=3, rng=fresh_rng, length=4)
def _(found, given):
    assert found.tokens.shape == (given["n"], given["length"]) and ((found.tokens >= 0) & (found.tokens < 3)).all()


WORDS = functools.partial(lambda: hmm().sample(3, stream(), 4).tokens)


@call("HiddenMarkovModel.beliefs", lambda **k: hmm().beliefs(**k), tokens=WORDS, observed=None)
def _(found, given):
    sums_to_one(found)
    for i in range(len(found)):
        observed = None if given["observed"] is None else rows(given["observed"])[i : i + 1]
        one = hmm().beliefs(rows(given["tokens"])[i : i + 1], observed)
        np.testing.assert_allclose(one[0], found[i], rtol=0, atol=1e-12)


@call("HiddenMarkovModel.log_evidence", lambda **k: hmm().log_evidence(**k), tokens=WORDS, observed=None)
def _(found, given):
    assert (found <= 1e-12).all()
    np.testing.assert_allclose(found, hmm().messages(**given).log_evidence, rtol=0, atol=1e-9)


@call("HiddenMarkovModel.predictive", lambda **k: hmm().predictive(**k), beliefs=np.full((2, 3), 1 / 3))
def _(found, given):
    np.testing.assert_allclose(found.sum(axis=-1), rows(given["beliefs"]).sum(axis=-1), rtol=1e-9, atol=1e-9)


@call("HiddenMarkovModel.messages", lambda **k: hmm().messages(**k), tokens=WORDS, observed=None)
def _(found, given):
    for t, belief in enumerate(np.moveaxis(hmm().beliefs(**given), 1, 0)):
        np.testing.assert_allclose(found.downward[t][:, 0], belief, rtol=0, atol=1e-9)
        sums_to_one(found.marginals[t])


@call("HiddenMarkovModel.constrained_beliefs", lambda **k: hmm().constrained_beliefs(**k), tokens=WORDS, evidence="bayes")
def _(found, _):
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=1e-9)


@call("HiddenMarkovModel.of_length", lambda **k: hmm().of_length(**k), length=3)
def _(found, given):
    assert found.length == given["length"]


@call("mess3", mechbp.mess3, x=0.1, alpha=0.6, length=None)
def _(found, _):
    np.testing.assert_allclose(found.start, 1 / 3, rtol=0, atol=1e-9)


@call("rrxor", mechbp.rrxor, p=0.5, q=0.5, length=None)
def _(found, _):
    assert found.n_states == 5
    sums_to_one(found.emissions)


# Topics.


@call("TopicModel", mechbp.TopicModel, word_given_topic=np.full((2, 3), 1 / 3), alpha=0.5, length=None)
def _(found, _):
    sums_to_one(found.word_given_topic)
    assert found.alpha.shape == (found.n_topics,)


@call("TopicModel.disjoint", mechbp.TopicModel.disjoint, n_topics=2, words_per_topic=2, alpha=0.5, length=None)
def _(found, given):
    assert found.are_disjoint and found.vocab_size == int(given["n_topics"]) * int(given["words_per_topic"])


@call("TopicModel.ring", mechbp.TopicModel.ring, n_topics=3, words_per_topic=2, shared=1, share=0.25, alpha=0.5, length=None)
def _(found, _):
    sums_to_one(found.word_given_topic)


@call("TopicModel.of_length", lambda **k: topics().of_length(**k), length=3)
def _(found, given):
    assert found.length == (tuple(given["length"]) if isinstance(given["length"], tuple | list) else given["length"])


@call("TopicModel.sample", lambda **k: topics().sample(**k), n=3, rng=fresh_rng, length=4)
def _(found, given):
    assert len(found.tokens) == given["n"] and ((found.tokens >= -1) & (found.tokens < 4)).all()
    sums_to_one(found.proportions)


@call(
    "TopicModel.beliefs",
    lambda **k: topics().beliefs(**k),
    tokens=functools.partial(lambda: topics().sample(3, stream(), 4).tokens),
    observed=None,
)
def _(found, _):
    sums_to_one(found.proportions)
    sums_to_one(found.predictive)


@call("TopicModel.listed_proportions", lambda **k: topics().listed_proportions(**k), n_words=3, where="here")
def _(found, _):
    np.testing.assert_allclose(found.weight.sum(), 1, rtol=0, atol=1e-9)


# Sorted lists.


@call("SortedLists", mechbp.SortedLists, vocab_size=5, length=2, window=0, gap=1, repeats=False)
def _(found, _):
    tokens = found.sample(2, stream()).tokens
    assert np.isfinite(found.log_evidence(tokens)).all()


@call("SortedLists.sample", lambda **k: lists().sample(**k), n=3, rng=fresh_rng, split=None)
def _(found, given):
    assert found.tokens.shape == (given["n"], 5)
    np.testing.assert_array_equal(np.sort(found.tokens[:, :2], axis=1), found.tokens[:, 3:])


LISTS = functools.partial(lambda: lists().sample(3, stream()).tokens)
for method in ("predictive", "beliefs"):

    @call(f"SortedLists.{method}", lambda method=method, **k: getattr(lists(), method)(**k), tokens=LISTS)
    def _(found, given):
        sums_to_one(found)
        np.testing.assert_array_equal(found.argmax(axis=-1), rows(given["tokens"])[:, 3:])


@call("SortedLists.log_evidence", lambda **k: lists().log_evidence(**k), tokens=LISTS)
def _(found, _):
    np.testing.assert_allclose(found, -math.log(20), rtol=0, atol=1e-12)


# Hooks.


@call(
    "capture",
    mechbp.capture,
    model=functools.partial(model),
    tokens=functools.partial(lambda: leaves()[:3]),
    patterns="blocks.*.hook_resid_post",
    batch_size=2,
)
def _(found, given):
    tokens = mechbp.hooks.to_tokens(model(), given["tokens"])
    logits, cache = model().run_with_cache(tokens)
    for name, value in found.items():
        torch.testing.assert_close(value, cache[name])
    torch.testing.assert_close(model()(tokens), logits, rtol=0, atol=0)


@call("edit", mechbp.edit, model=functools.partial(model), edits={"hook_embed": torch.zeros_like})
def _(found, given):
    tokens = torch.from_numpy(leaves()[:3])
    before = model()(tokens)
    with found as session:
        model()(tokens)
    assert set(session.firings.values()) == {1}
    torch.testing.assert_close(model()(tokens), before, rtol=0, atol=0)


@call("hook_table", mechbp.hook_table, model=functools.partial(model), tokens=None)
def _(found, _):
    assert [row.name for row in found] == list(model().hook_dict)


@call("check_model", mechbp.check_model, model=functools.partial(model), tokens=functools.partial(lambda: leaves()[:3]))
def _(found, _):
    assert not found.unsound


# Methods.


@call(
    "probe",
    mechbp.probe,
    model=functools.partial(model),
    tokens=functools.partial(leaves),
    targets=functools.partial(lambda: {"parent": tree().beliefs(leaves()).upward[1]}),
    hooks="blocks.0.hook_resid_post",
    rng=fresh_rng,
    control_model=None,
    controls=("shuffled",),
    own=None,
    only_own=False,
    groups=None,
    baselines=None,
    penalties=(1e-3, 1.0),
    floor=1e-6,
    resamples=10,
)
def _(found, _):
    for name, scores in found.r2.items():
        assert scores.shape[:2] == (len(found.hooks), 4) and (scores[np.isfinite(scores)] <= 1 + 1e-9).all(), name


def first_symbol(logits):
    return logits[:, 0, 0]


@call(
    "patch",
    mechbp.patch,
    model=functools.partial(model),
    clean=functools.partial(lambda: leaves()[:3]),
    corrupted=functools.partial(lambda: leaves()[3:6]),
    metric=first_symbol,
    hooks="blocks.*.hook_resid_pre",
    direction="denoising",
    positions=None,
    heads=True,
    batch_size=8,
    rng=fresh_rng,
)
def _(found, given):
    """The first and the last cell again, by the model's own hooks."""
    clean, corrupted = (mechbp.hooks.to_tokens(model(), given[side]) for side in ("clean", "corrupted"))
    base, donor = (corrupted, clean) if found.direction == "denoising" else (clean, corrupted)
    _, cache = model().run_with_cache(donor)
    for cell in {0, len(found.cells) - 1}:
        name, position, head = found.cells[cell]
        if name.endswith("hook_pattern") or head is not None:
            continue

        def write(value, hook, position=position):
            where = slice(None) if position is None else list(position) if isinstance(position, tuple) else [position]
            value[:, where] = cache[hook.name][:, where]
            return value

        logits = model().run_with_hooks(base, fwd_hooks=[(name, write)])
        expected = given["metric"](logits).detach().double().numpy()
        np.testing.assert_allclose(found.values[:, cell], expected, rtol=1e-3, atol=1e-4)


MESSAGE = {"position": None, "message": "upward", "task": "masked", "n": 8, "n_fit": 40, "dims": None, "mask_rates": (0.0, 0.3)}


def distances(found, _):
    for table in (found.target_kl_nats, found.before_kl_nats):
        assert len({len(kl) for kl in table.values()}) == 1
        assert all(np.isfinite(kl).all() and (kl >= -1e-9).all() for kl in table.values())
    assert next(iter(found.target_kl_nats)) == "nothing"


for name, how in (("interchange", {"subspace": "means"}), ("erase", {"eraser": "leace"})):
    call(
        name,
        getattr(mechbp, name),
        model=functools.partial(model),
        process=functools.partial(tree),
        hook="blocks.0.hook_resid_post",
        depth=2,
        **how,
        **MESSAGE,
        reading=None,
        rng=fresh_rng,
    )(distances)


@call(
    "compare_attention",
    mechbp.compare_attention,
    model=functools.partial(model),
    tokens=functools.partial(lambda: leaves()[:5]),
    reference="uniform",
    rng=fresh_rng,
    control_model=None,
    permutations=3,
    resamples=4,
)
def _(found, _):
    assert ((found.js_nats.mean >= 0) & (found.js_nats.mean <= LOG_2 + 1e-12)).all()
    assert ((found.p_js > 0) & (found.p_js <= 1)).all()


@call(
    "circuits",
    mechbp.circuits,
    model=functools.partial(model),
    layer=0,
    variant="mean position",
    key_positions=None,
    query_positions=None,
    tokens=None,
)
def _(found, _):
    assert np.isfinite(found.ov).all() and np.isfinite(found.qk).all()
    if found.variant == "raw":
        twin = model().embed.W_E @ model().unembed.W_U
        twin = (twin - twin.mean(dim=-1, keepdim=True)).detach().numpy()[found.tokens]
        np.testing.assert_allclose(found.direct - found.direct.mean(axis=-1, keepdims=True), twin, rtol=0, atol=1e-5)


def square_loss(parameters, _):
    return (parameters["w"] ** 2).sum()


@call(
    "llc",
    mechbp.llc,
    loss=square_loss,
    parameters=functools.partial(lambda: {"w": torch.zeros(2, dtype=torch.float64)}),
    batches=[None],
    n_beta=50.0,
    localization=1.0,
    step_size=1e-3,
    chains=2,
    burn_in=2,
    draws=10,
    rng=fresh_rng,
    sampler="sgld",
    centre_gradients=False,
    curvature=2.0,
    loss_limit=None,
    vectorise=None,
)
def _(found, given):
    assert len(found.per_chain) == given["chains"] and math.isfinite(found.estimate)
    assert found.losses.shape[0] == given["burn_in"] + given["draws"]


@call("score", mechbp.score, model=functools.partial(model), process=functools.partial(tree), task="masked", n=4, rng=fresh_rng)
def _(found, _):
    assert float(found.kl_bp_to_model_nats.mean) >= -1e-9


def guess(question):
    return [float(i) for i in range(len(question.candidates))]


@call(
    "judge",
    mechbp.judge,
    method=guess,
    kind="localisation",
    sites="streams",
    grammars=1,
    pairs=8,
    inputs=50,
    budget=None,
    name=None,
    first=0,
)
def _(found, _):
    assert 0 <= float(found.auroc.mean) <= 1 or math.isnan(float(found.auroc.mean))


@call("compile_bp", mechbp.compile_bp, tree=functools.partial(tree), answer="leaf", activation="relu2", knots=None)
def _(found, given):
    if given["answer"] == "leaf" and given["knots"] is None:
        np.testing.assert_allclose(found.answers(leaves()[:3]), tree().leave_one_out(leaves()[:3]), rtol=0, atol=1e-9)


@call("check_process", mechbp.check_process, process=functools.partial(hmm), rng=fresh_rng)
def _(found, _):
    assert found is None


# Runs and what is small.


@call("load", mechbp.load, name_or_path="tree-mlm-k0", root=None, trust=False, device="cpu")
def _(found, _):
    assert found.config.process.build().vocab_size > 1


@call(
    "Run.from_model",
    mechbp.Run.from_model,
    model=functools.partial(model),
    process=functools.partial(tree),
    task="masked",
    name="mine",
)
def _(found, given):
    assert found.name == given["name"] and found.steps == (0,)


NUMBERS = itertools.count()
"""So that every folder is another one; none is made before a test saves there."""


@call("Run.save", lambda **k: run().save(**k), folder=functools.partial(lambda: Path(f"saved-{next(NUMBERS)}")))
def _(found, _):
    for name, saved in found.model.named_parameters():
        assert torch.equal(saved, dict(model().named_parameters())[name])


@call("Run.at", lambda **k: run().at(**k), step=0)
def _(found, _):
    assert found is run().model


@call("Run.untrained", lambda **k: run().untrained(**k), seed=1)
def _(found, _):
    assert found.cfg.n_layers == 2


@call("rng", lambda seed, labels: mechbp.rng(seed, labels), seed=0, labels="a")
def _(found, given):
    assert found.random() == mechbp.rng(given["seed"], given["labels"]).random()


@call("register", mechbp.register, family=functools.partial(lambda: mechbp.Family("tree", (), {})))
def _(found, _):
    raise AssertionError("the name was taken, and it was registered")


# Pages.


def page():
    return mechbp.Report("A page")


@call("Report", mechbp.Report, title="Is it?", lead="", slug=None, runs=(), seeds=None, device=None)
def _(found, _):
    assert found.add("Text.").write("page.html").read_text().startswith("<!")


@call(
    "Report.claim",
    lambda **k: page().claim(**k),
    statement="It is.",
    verdict=None,
    measured="0.5",
    control="",
    reference="",
    holds="low > 0.45",
    partly="",
    numbers={"low": 0.47},
    kind="new",
    figure="",
)
def _(found, _):
    assert found.document().claims[0].verdict in ("holds", "partly", "fails", "not run", "short")


@call("Report.section", lambda **k: page().section(**k), title="Part")
def _(found, given):
    assert found.document().sections[0].title in (given["title"], "\ufffd")


@call(
    "Report.add",
    lambda item, id, title, caption, alt, drawn_as: page().add(item, id=id, title=title, caption=caption, alt=alt, **drawn_as),
    item="Text.",
    id="",
    title=None,
    caption=None,
    alt=None,
    drawn_as={},
)
def _(found, _):
    found.write("page.html")


@call("Report.write", lambda **k: page().add("Text.").write(**k), path="page.html")
def _(found, _):
    assert found.is_file() and found.with_suffix(".json").is_file()
