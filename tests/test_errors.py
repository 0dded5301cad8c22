"""What a mistyped name may have been: the words of every message about one."""

import pytest
from small_runs import write_run

import mechbp
from mechbp.errors import MOST_LISTED, HookError, InputError, asked_back, did_you_mean, near
from mechbp.models.run_folder import find_run
from mechbp.models.starting import source_of

RUNS = ["chain", "mess3-s24", "topics-1l", "tree-mlm-k0", "tree-mlm-k4", "tree-root-k0"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("tree-mlm-k00", "tree-mlm-k0"),
        ("tre-mlm-k0", "tree-mlm-k0"),
        ("Tree-MLM-k4", "tree-mlm-k4"),
        ("topics1l", "topics-1l"),
        ("s24", "mess3-s24"),  # a part of a name is like it too
    ],
)
def test_the_likeliest_name_comes_first(typed, meant):
    assert near(typed, RUNS)[0] == meant and len(near(typed, RUNS)) <= 3 and near(typed, RUNS, 1) == [meant]


@pytest.mark.parametrize("typed", ["", "zzzz", "0" * 10_000, None])
def test_what_is_like_no_name_is_answered_by_what_there_is(typed):
    assert near(typed, RUNS) == [] and did_you_mean(typed, RUNS) == f"there are: {', '.join(RUNS)}."
    assert did_you_mean(typed, []) == "there are: none."


def test_names_that_differ_in_case_alone_are_both_kept():
    assert near("LN", ["ln", "Ln", "lln"]) == ["ln", "Ln"]


def test_the_question_lists_names_as_english_does():
    assert asked_back([]) == "" and asked_back(["a"]) == "did you mean 'a'?"
    assert asked_back(["a", "b", "c"]) == "did you mean 'a', 'b' or 'c'?"


def test_long_lists_and_names_are_cut():
    for length, left_out in ((0, 7), (500, MOST_LISTED + 4)):
        told = did_you_mean("?", [f"{i:02}" + "x" * length for i in range(MOST_LISTED + 7)])
        assert told.endswith(f" and {left_out} more.") and len(told) < 300
    assert did_you_mean("?", ["x" * 500]) == f"there are: {'x' * 80}."


def test_mistyped_runs_are_asked_back_by_name_and_by_path(tmp_path, monkeypatch):
    write_run(tmp_path / "checkpoints" / "my-tree")
    monkeypatch.chdir(tmp_path)
    for typed, meant in (
        ("my-tre", "did you mean 'my-tree'?"),
        ("My-Tree", "Did you mean 'my-tree'?"),
        ("checkpoints/my-tre/", "Did you mean 'checkpoints/my-tree'?"),
        ("no/where", "Give the path of a folder that holds one."),
    ):
        with pytest.raises(InputError) as caught:
            find_run(typed)
        assert meant in str(caught.value) and len(str(caught.value).splitlines()) <= 3
    with pytest.raises(InputError, match="no template 'tre'; did you mean 'tree'\\?\nTemplates that need no run: chain"):
        source_of("tre")


def test_mistyped_hooks_are_asked_back_wherever_hooks_are_named(tiny_encoder):
    tokens = mechbp.rng(0, "tokens").integers(0, 4, (8, 4))
    calls = (
        lambda hook: mechbp.capture(tiny_encoder, tokens, hook),
        lambda hook: mechbp.probe(tiny_encoder, tokens, {"t": tokens.astype(float)}, hooks=[hook], rng=mechbp.rng(0)),
        lambda hook: mechbp.patch(tiny_encoder, tokens, tokens, lambda logits: logits[:, 0, 0], hooks=[hook]),
    )
    for call in calls:
        with pytest.raises(HookError) as caught:
            call("blocks.0.hook_resid_pst")
        assert "did you mean 'blocks.0.hook_resid_post'" in str(caught.value) and len(str(caught.value).splitlines()) <= 3
