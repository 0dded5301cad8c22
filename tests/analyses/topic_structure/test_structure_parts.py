"""What topic_structure measures, on small corpora where the answer is known or can be had another way."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_runs import toml

from analyses.topic_structure import (
    compensation,
    controls,
    documents,
    embeddings,
    overlap,
    robustness,
    setting,
    stages,
    thresholds,
    trained,
    training_maps,
    use,
    values,
)
from analyses.topic_structure.attention import same_over_different
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.processes.topics.topic_model import TopicModel
from mechbp.randomness import rng
from mechbp.study import Study
from mechbp.theory.topics.bounds import population_bound
from mechbp.theory.topics.key_classes import CLASSES, DIFF, SAME, class_weights
from mechbp.theory.topics.pairs import PairClasses
from mechbp.theory.topics.setting import TopicSetting
from mechbp.theory.topics.values import finite_length_values, setting_values

pytestmark = pytest.mark.slow


@pytest.fixture
def study():
    return Study((), quick=True, stage=lambda _: None)


def a_run(folder, process, model, objective, steps=250, rate=2e-2):
    folder.mkdir()
    tables = {
        "process": {"kind": "topics", **process},
        "model": {"kind": "topic-attention", **model},
        "objective": objective,
        "training": {
            "steps": steps, "batch_size": 64, "learning_rate": rate, "warmup_steps": 0, "weight_decay": 0.0, "stored_steps": 1,
            "measured_steps": 1,
        },
    }  # fmt: skip
    (folder / "run.toml").write_text(toml(tables))
    train(folder)
    return load(folder)


DISJOINT = {"n_topics": 3, "words_per_topic": 2, "alpha": 0.2, "length_low": 20, "length_high": 30}
RING = {"n_topics": 3, "words_per_topic": 3, "alpha": 0.2, "length_low": 10, "length_high": 15, "shared": 1, "share": 0.3}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    square = {"task": "mask-b", "loss": "squared"}
    given = {"regime": "wv", "bias": True, "outputs": "probabilities"}
    return {
        "ce": a_run(root / "ce", DISJOINT, {"regime": "wv", "bias": True}, {"task": "mask-b"}),
        "squared": a_run(root / "squared", DISJOINT, given, square),
        "ring": a_run(root / "ring", RING, given, square, steps=600),
        "joint": a_run(root / "joint", DISJOINT | {"topics_per_document": 2}, {"regime": "joint"}, {"task": "mask-a"}),
    }


def test_the_numerical_minimum_is_the_closed_form():
    assert np.abs(values._population_minimum(3) - setting_values(setting.THEORY).matrix()).max() < 1e-5


def test_sampled_least_squares_tends_to_its_exact_value(study, monkeypatch):
    corpus = TopicSetting(3, 2, 2)
    monkeypatch.setattr(values, "THEORY", corpus)
    found = np.mean([values._sampled_minimum(study, 2, seed, 4000, 40) for seed in range(4)], axis=0)
    classes = PairClasses.of(np.repeat(np.arange(3), 2))
    exact = finite_length_values(corpus, 40)
    np.testing.assert_allclose(classes.means(found[:, :-1]), classes.means(exact[:, :-1]), atol=0.01)
    np.testing.assert_allclose(found[:, -1], exact[:, -1], atol=0.02)
    table = np.hstack([np.eye(6), np.zeros((6, 1))])
    assert values._block_gap(table) == pytest.approx(1 / 2)  # half of the pairs of one topic are a word with itself


def test_losses_and_floors_are_those_of_the_documents(study, runs):
    for name in ("ce", "squared"):
        held = trained.measure(study, runs[name])
        sample = runs[name].task.draw(runs[name].process, 1000, study.rng(runs[name].config.process.name, "held-out documents"))
        lesson_rng = study.rng(runs[name].config.process.name, "held-out documents")
        runs[name].task.draw(runs[name].process, 1000, lesson_rng)
        lesson = runs[name].task.lesson(runs[name].process, runs[name].config.objective, sample, lesson_rng)
        n_ids = runs[name].task.vocabulary(runs[name].process).n_ids
        visible = np.where((lesson.inputs < n_ids) & (lesson.inputs < 6), lesson.inputs, -1)
        exact = runs[name].process.beliefs(visible).predictive[np.nonzero(lesson.reads)[0]]
        picked = exact[np.arange(len(exact)), lesson.targets]
        if name == "ce":
            assert held.floors.mean_ce_nats == pytest.approx(-np.log(picked).mean(), abs=1e-12)
            with torch.no_grad():
                logits = runs[name].model(torch.from_numpy(lesson.inputs))[torch.from_numpy(lesson.reads)].double()
            own = torch.nn.functional.cross_entropy(logits, torch.from_numpy(lesson.targets)).item()
        else:
            square = np.square(exact).sum(axis=1) - 2 * picked + 1
            assert held.floors.mean_squared == pytest.approx(square.mean(), abs=1e-12)
            own = held.floors.mean_squared
        assert held.loss.sum() / held.floors.n_targets.sum() == pytest.approx(own, abs=0.02)
        assert held.loss.sum() / held.floors.n_targets.sum() >= own - 1e-6
    assert trained.is_hidden_values(runs["ce"]) and not trained.is_hidden_values(runs["ring"])


def test_weights_replace_the_pattern_and_uniform_ones_cost(study, runs):
    run = runs["joint"]
    held = documents.documents_of(study, run)
    asked = run.task.draw(run.process, 60, study.rng(run.config.process.name, "mask-a", "documents")).tokens
    assert (held.unseen == (np.where(asked < 0, 7, 0) == 7)).all()  # words 0 to 5, MASK 6, PAD 7
    own = documents.loss_with(run, held, None)
    uniform = documents.loss_with(run, held, np.ones((1, len(CLASSES))))
    with torch.no_grad():
        counts = np.array([np.bincount(row[~gone], minlength=8) for row, gone in zip(held.inputs, held.unseen, strict=True)])
        answers = torch.from_numpy(counts / counts.sum(axis=1, keepdims=True)).float() @ run.model.values().T
    document = np.nonzero(held.reads)[0]
    expected = documents.document_losses("cross-entropy", answers[document], held.targets, document, len(counts))
    np.testing.assert_allclose(uniform, expected, rtol=1e-4)  # uniform attention reads the histogram
    assert (uniform - own).sum() > 0.01 * held.reads.sum()
    averaged = documents.loss_with(run, held, class_weights(held.attention)[0])
    assert own.sum() < averaged.sum() < uniform.sum()
    ratio = np.nanmean(held.by_class[:, SAME]) / np.nanmean(held.by_class[:, DIFF])
    assert float(same_over_different(study, "joint", held.by_class).mean) == pytest.approx(ratio, rel=0.02)
    assert ratio > 1.05


def test_the_linear_rival_is_the_best_linear_map(study, runs):
    fitted = overlap.draw(study, runs["ring"], 3000, "fitted")
    held = overlap.draw(study, runs["ring"], 3000, "judged")
    linear = overlap._loss(held, overlap._linear(fitted, held)[held.document]).sum()
    exact = overlap._loss(held, held.predictive[held.document]).sum()
    trained_loss = overlap._loss(held, overlap._outputs(runs["ring"], held)).sum()
    prior = runs["ring"].process.beliefs(np.full((1, 1), -1)).predictive[0]
    unigram = overlap._loss(held, np.broadcast_to(prior, (len(held.targets), len(prior)))).sum()
    assert exact < linear < unigram
    assert abs(trained_loss - linear) < 0.1 * (unigram - linear)
    own_fit = overlap._loss(fitted, overlap._linear(fitted, fitted)[fitted.document]).sum()
    assert own_fit < overlap._loss(fitted, overlap._outputs(runs["ring"], fitted)).sum()


def test_contrasts_of_words_are_by_shared_topics():
    process = TopicModel.ring(3, 2, 1, 0.5, alpha=0.3, length=5)
    table = np.arange(36.0).reshape(6, 6)
    run = SimpleNamespace(process=process, model=SimpleNamespace(values=lambda: torch.from_numpy(table)))
    found = overlap._word_contrasts(run)
    has = process.word_given_topic > 0
    for word in range(6):
        same = [w for w in range(6) if w != word and (has[:, w] & has[:, word]).any()]
        different = [w for w in range(6) if not (has[:, w] & has[:, word]).any()]
        assert found[word] == pytest.approx(table[same, word].mean() - table[different, word].mean())


def test_attention_that_never_moved_proves_no_order():
    curves = SimpleNamespace(
        value_step=np.array([3.0, 3.0, 9.0]), attention_step=np.array([5.0, np.inf, 4.0]), stage_gap=np.array([2.0, np.inf, -5.0])
    )
    found = stages.Stages({("squared", 0.01): curves}, curves, curves, np.zeros(2))
    assert stages._stages_claim(found).numbers["share"] == [pytest.approx(1 / 3, abs=1e-5)]


def test_a_grid_counts_converged_runs_only(study, monkeypatch):
    monkeypatch.setattr(robustness, "RULES", (("adam", 1e-2), ("sgd", 1e-4)))
    monkeypatch.setattr(robustness, "PENALTIES", (0.0,))
    monkeypatch.setattr(robustness, "SIGMAS", (1e-2,))
    grid = robustness.measure(dataclasses.replace(study, quick=True))
    fast = [run.optimiser == "adam" for run in grid.runs]
    assert np.isfinite(grid.signs["values"][fast]).any()
    assert np.isnan(grid.signs["values"][[not one for one in fast]]).all()
    assert "sgd 0.0001" in robustness._failures(grid)


def test_maps_along_training_are_those_of_the_stored_steps(runs):
    figure = training_maps.training_maps(runs["joint"])
    frames = figure.data["frames"]
    assert [frame["name"] for frame in frames] == [f"{step:,}" for step in runs["joint"].steps]
    values = runs["joint"].model.values().detach().double().numpy()[:6, :6]
    values = values - values.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(frames[-1]["panels"][0]["values"], values / np.abs(values).max(), atol=0.006)
    assert not training_maps.is_joint(runs["squared"])


def test_a_rise_is_what_the_loss_gains_per_word(study, runs):
    held = documents.documents_of(study, runs["joint"])
    own = documents.loss_with(runs["joint"], held, None)
    uniform = documents.loss_with(runs["joint"], held, np.ones((1, len(CLASSES))))
    found = use._measure(study, runs["joint"])
    assert float(found.rises["uniform"].mean) == pytest.approx((uniform - own).sum() / held.reads.sum())
    best = use._theory_weights(runs["joint"])[0]
    assert best[CLASSES.index("self")] == best[SAME] > best[DIFF] == 1 and best[CLASSES.index("hidden")] > 1
    assert use._theory_weights(runs["ce"]) is None


def test_shares_of_the_learnable_run_from_a_uniform_answer_to_the_bound():
    losses = np.array([[5.0, 1 - 1 / setting.THEORY.n_words], [5.0, population_bound(setting.THEORY).squared]])
    cell = compensation.Cell("cell", SimpleNamespace(loss=losses), {}, {})
    np.testing.assert_allclose(compensation._shares(cell), [0, 1], atol=1e-12)


def test_gaps_are_those_of_the_gram_matrix(study, monkeypatch):
    monkeypatch.setattr(embeddings, "THEORY", TopicSetting(4, 3, 2))
    found = embeddings._train(study, "squared")
    np.testing.assert_allclose(found.gaps, 1 / (3 * embeddings.THEORY.genuine), rtol=0.02)
    assert max(found.p_dot + found.p_cosine) < 0.01


def test_thresholds_pass_and_fall_short_on_either_side(study, runs, monkeypatch):
    judged = dataclasses.replace(study, runs=tuple(runs.values()))
    found = {name: check for name, check in thresholds.thresholds(judged)}
    assert set(found) == {"ce", "squared", "ring", "joint"} and found["joint"].verdict == "pass"
    linear = thresholds.best_linear_logits(trained.corpus_of(runs["ce"])).ce_nats
    for distance, verdict in ((0.01, "pass"), (-0.01, "pass"), (0.02, "short"), (-0.02, "short")):
        held = SimpleNamespace(loss=np.array([linear + distance]), floors=SimpleNamespace(n_targets=np.array([1])))
        monkeypatch.setattr(thresholds, "measure", lambda study, run, held=held: held)
        assert next(thresholds._values(study, runs["ce"])).verdict == verdict


def test_controls_shuffle_their_labels(study, monkeypatch):
    topic = embeddings.topic_labels()
    blocks = np.hstack([1.0 * (topic[:, None] == topic), np.zeros((len(topic), 1))])
    noisy = [blocks + 0.1 * rng(0, seed).normal(size=blocks.shape) for seed in range(4)]
    weights = SimpleNamespace(final=[SimpleNamespace(value_matrix=table) for table in noisy])
    monkeypatch.setattr(controls, "joint_runs", lambda *settings: weights)
    (claim,) = controls.study_controls(study)
    assert claim.verdict == "holds" and min(claim.numbers["shuffled_p"]) > 0.001
    assert embeddings.topic_label_test(blocks[:, :-1], topic, rng(1), 500) == pytest.approx(1 / 501)


def test_what_is_closed_runs_from_linear_to_exact(study, runs):
    held = overlap.draw(study, runs["ring"], 500, "judged")
    linear = overlap._linear(overlap.draw(study, runs["ring"], 2000, "fitted"), held)

    def answering(answers):
        rows = torch.from_numpy(answers[held.document])
        return SimpleNamespace(task=runs["ring"].task, process=runs["ring"].process, model=SimpleNamespace(read=lambda *_: rows))

    assert overlap._closed(held, linear, answering(linear)) == pytest.approx(0, abs=1e-9)
    assert overlap._closed(held, linear, answering(held.predictive)) == pytest.approx(1)


@pytest.mark.parametrize("steps", [20, stages.EARLY_STEP + 20])
def test_long_runs_of_any_length_say_where_they_are_read_first(steps):
    long = setting.joint_runs("squared", setting.SIGMAS[0], 1, steps)
    claim = stages._own_word_claim(stages.Stages({}, long, long, np.zeros(1)))
    read = int(claim.control.split()[1].rstrip(":"))
    assert read == steps if steps < stages.EARLY_STEP else stages.EARLY_STEP <= read < steps
