"""A run handed over where its model belongs is the commonest slip: every public function says what to pass instead."""

import numpy as np
import pytest
from nonsense.calls import CALLS
from small_runs import write_run

import mechbp
from mechbp.errors import CheckpointError, HookError

MODELS = [(name, parameter) for name in CALLS for parameter in ("model", "control_model") if parameter in CALLS[name].valid()]
TOKENS = np.zeros((2, 4), dtype=np.int64)
OF_HOOKS = {
    "matching_hooks": lambda model: mechbp.hooks.matching_hooks(model, "*"),
    "to_tokens": lambda model: mechbp.hooks.to_tokens(model, TOKENS),
    "firing_hooks": lambda model: mechbp.hooks.firing_hooks(model, ["*"], TOKENS),
    "require_hooked": mechbp.hooks.require_hooked,
}


@pytest.fixture(scope="module")
def run():
    arguments = CALLS["Run.from_model"].valid()
    return mechbp.Run.from_model(**arguments)


def refusal(call):
    with pytest.raises(HookError) as caught:
        call()
    message = str(caught.value)
    assert "was given where its model belongs. Pass its model: run.model." in message and len(message.splitlines()) <= 3
    return message


def test_there_are_many_public_functions_of_a_model():
    assert {"capture", "edit", "patch", "probe", "compare_attention", "Run.from_model", "score"} <= {name for name, _ in MODELS}


@pytest.mark.parametrize(("name", "parameter"), MODELS)
def test_a_run_is_no_model(name, parameter, run):
    function, arguments = CALLS[name].function, CALLS[name].valid()
    arguments[parameter] = run

    def call():
        with np.errstate(all="ignore"):
            found = function(**arguments)
            if name == "edit":
                found.__enter__()

    assert "A run was given" in refusal(call)


@pytest.mark.parametrize("name", OF_HOOKS)
def test_a_run_has_hooks_in_its_model_alone(name, run):
    refusal(lambda: OF_HOOKS[name](run))
    with pytest.raises(HookError, match="object is no hooked model: it lacks cfg, hook_dict"):
        OF_HOOKS[name](object())


def test_what_holds_a_model_and_is_no_run_is_told_from_models_too():
    refusal(lambda: mechbp.capture(mechbp.compile_bp(CALLS["compile_bp"].valid()["tree"]), TOKENS, "*"))


def test_a_run_without_a_model_says_that_it_is_not_trained(tmp_path):
    with pytest.raises(CheckpointError, match="no stored step yet. Train it first: mechbp train"):
        mechbp.capture(mechbp.load(write_run(tmp_path / "fresh")), TOKENS, "*")
