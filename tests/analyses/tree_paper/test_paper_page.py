"""The page end to end on tiny runs, and every other page on trees with a run that is asked once about all leaves."""

import numpy as np
import pytest
from document_checks import figures_can_be_drawn, survives_the_round_trip
from small_runs import recipe, toml

from mechbp import study
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.report.criteria import regrade
from mechbp.study import criteria_of

pytestmark = pytest.mark.slow

POST_NORM = {"kind": "post-norm", "n_layers": 2, "n_heads": 1, "d_model": 8, "d_mlp": 8}
KINDS = {
    "paper-root": ({"objective__task": "root-all"}, POST_NORM),
    "paper-token": ({"objective__task": "root"}, POST_NORM),
    "paper-masked": ({}, POST_NORM),
    "paper-filtered": ({"objective__task": "root-all", "process__filter_level": 1}, POST_NORM),
    "plain": ({"objective__task": "root"}, None),
    "next": ({"objective__task": "next-token", "model__attention": "causal"}, None),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("paper")
    found = {}
    for name, (changes, model) in KINDS.items():
        tables = recipe(training__steps=12, training__warmup_steps=2, training__stored_steps=2, **changes)
        tables["model"] = model or tables["model"]
        (root / name).mkdir()
        (root / name / "run.toml").write_text(toml(tables))
        train(root / name)
        found[name] = load(root / name)
    return found


def page(name, *runs):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study.Study, "size", lambda self, full, quick: min(quick, 150))
        return study.analyse(name, study.Study(runs, True, lambda text: None))


@pytest.fixture(scope="module")
def document(runs):
    return page("tree_paper", *runs.values())


def test_it_is_a_sound_document(document):
    survives_the_round_trip(document)
    figures_can_be_drawn(document)
    assert not regrade(document, criteria_of("tree_paper"))
    assert [section.id for section in document.sections if section.status == "skipped"] == ["skipped"]


def test_every_run_has_its_claims_and_every_failure_one(document):
    ids = {claim.id for claim in document.claims}
    keys = {"exact", "nearest", "mismatched", "levels", "used", "necessary", "static", "merging", "construction", "probe-order"}
    for name in ("paper-root", "paper-token", "paper-masked", "plain"):
        assert {f"{name}-{key}" for key in keys} <= ids
    assert {key for key in keys if f"paper-filtered-{key}" in ids} == {"exact", "nearest", "mismatched", "levels"}
    assert {f"token-{key}" for key in ("used", "necessary", "static", "construction")} <= ids


def test_runs_of_one_question_are_tested_on_the_same_pairs(runs):
    from analyses.tree_paper.groups import groups
    from analyses.tree_paper.looking import look
    from analyses.tree_paper.messages import tested_messages

    quick = study.Study(tuple(runs.values()), True, lambda text: None)
    (group,) = [group for group in groups(quick.runs) if group.question == "root" and group.slug == "root-k0"]
    assert [run.name for run in group.runs] == ["paper-root", "paper-token", "plain"]
    tests = [tested_messages(quick, group, run) for run in group.runs]
    assert [test.depth for test in tests[0]] == [1]  # of inner nodes, not of leaves
    for one, other in zip(tests[0], tests[1], strict=True):
        np.testing.assert_array_equal(one.pairs.base, other.pairs.base[:, :-1])
        np.testing.assert_array_equal(one.pairs.expected, other.pairs.expected)
        assert one.learned and one.above(quick, "nothing").n == len(one.pairs)
    first, second = (look(quick, group, run) for run in group.runs[:2])
    np.testing.assert_array_equal(first.oracles[0], second.oracles[0])
    np.testing.assert_allclose(first.loss(""), 0)


def test_pages_on_trees_ask_every_run_as_its_training_did(runs):
    from analyses.shared.tree_attention import one_question
    from mechbp.hooks import to_tokens

    for name in ("paper-root", "paper-token"):
        run = runs[name]
        asked = one_question(study.Study((run,), True, lambda text: None), run, 6)
        says = run.model(to_tokens(run.model, asked.shown)).detach().double().softmax(dim=-1).numpy()
        answer = says[np.arange(6), asked.read]
        expected = run.task.prompts(run.process, asked.shown[:, : run.process.n_leaves])
        np.testing.assert_array_equal(asked.shown, expected.inputs)
        assert answer.shape == (6, run.process.vocab_size) and asked.shown.shape[1] == run.model.cfg.n_ctx


def test_without_a_twin_nothing_is_said_of_the_token(runs):
    found = page("tree_paper", runs["paper-root"], runs["plain"])
    assert {claim.verdict for claim in found.claims if claim.id.startswith("token-")} == {"not run"}
    assert "token" not in {section.id for section in found.sections}


@pytest.mark.parametrize(
    "name",
    ["tree_inference", pytest.param("tree_mechanism", marks=pytest.mark.slow), "tree_levels", "tree_training", "tree_beyond"],
)
def test_other_pages_take_the_run_or_say_why_not(name, runs):
    document = page(name, runs["paper-root"], runs["paper-masked"])
    survives_the_round_trip(document)
    named = [section for section in document.sections if "paper-root" in section.title + section.reason + " ".join(section.text)]
    assert named and (named[0].status == "skipped") == (name != "tree_inference")
