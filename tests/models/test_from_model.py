"""Runs from memory: any hooked model with a process and a task, what its pages can ask of it, and its run folder."""

# ruff: noqa: E501

import numpy as np
import pytest
import torch
from coin import BiasedCoin
from coin_family import COIN, NextFlip
from torch import nn

import mechbp
from mechbp.errors import CheckpointError, HookError, InputError
from mechbp.hooks import capture
from mechbp.models import families
from mechbp.models.architectures import LINE, build_model, hooked_transformer
from mechbp.models.checkpoint import save_checkpoint
from mechbp.models.config import ModelConfig
from mechbp.models.held import digest_of_parameters
from mechbp.models.post_norm import PostNormEncoder
from mechbp.models.run_folder import step_file
from mechbp.models.runs import Run
from mechbp.models.training import train
from mechbp.models.verify import verify_run
from mechbp.study import Study

TREE = mechbp.FilteredTree(mechbp.TreeGrammar.random(3, 1.0, 5), 2)


def hooked(n_ctx=4, d_vocab=5, d_vocab_out=3, **settings):
    """A HookedTransformer for the masked leaves of TREE, unless told otherwise."""
    defaults = {"n_layers": 1, "n_heads": 2, "d_model": 8, "d_mlp": 8, "attention": "bidirectional"}
    return build_model(ModelConfig(**(defaults | settings)), d_vocab=d_vocab, d_vocab_out=d_vocab_out, n_ctx=n_ctx, seed=3)


def other(**settings):
    """One of settings that no recipe has."""
    defaults = {"n_layers": 1, "n_heads": 2, "d_model": 8, "d_head": 4, "d_mlp": 8, "act_fn": "relu", "n_ctx": 4, "d_vocab": 5}
    model = hooked_transformer(
        **(defaults | {"d_vocab_out": 3, "attention_dir": "bidirectional", "normalization_type": "LN"} | settings)
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for weights in model.parameters():
            nn.init.normal_(weights, std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def mine():
    return mechbp.Run.from_model(hooked(), TREE)


def test_it_answers_what_a_run_answers(mine):
    assert isinstance(mine, mechbp.Run) and (mine.name, mine.family, mine.steps, mine.metrics) == ("mine", "tree", (0,), [])
    assert mine.process is TREE and mine.complete and mine.given and mine.at(0) is mine.model and len(mine.digest) == 64
    assert mine.config.process.filter_level == 0 and mine.config.model.n_heads == 2 and mine.config.objective.task == "masked"
    assert repr(mine).startswith("Run('mine', filter level 0, depth 2, rules ") and len(repr(mine)) < 120
    with pytest.raises(CheckpointError, match="it has step 0 alone, got 5"):
        mine.at(5)
    assert not mine.folder.exists()
    assert mechbp.score(mine.model, TREE, task=mine.task, n=32, rng=mechbp.rng(0, "x")).accuracy.n == 32


def test_it_holds_a_copy_in_eval_mode():
    model = hooked().train()
    run = Run.from_model(model, TREE)
    with torch.no_grad():
        model.embed.W_E.zero_()
    assert model.training and not run.model.training and run.model.embed.W_E.abs().sum() > 0


def test_its_digest_is_that_of_its_parameters(mine):
    model = hooked()
    assert Run.from_model(model, TREE, name="other").digest == mine.digest
    with torch.no_grad():
        model.unembed.b_U[0] += 1e-6
    assert Run.from_model(model, TREE).digest != mine.digest


def test_equal_numbers_of_other_names_or_shapes_have_another_digest():
    numbers = torch.arange(6.0)
    parts = [("a", (2, 3)), ("b", (2, 3)), ("a", (3, 2))]
    held = [nn.ParameterDict({name: nn.Parameter(numbers.reshape(shape))}) for name, shape in parts]
    assert len({digest_of_parameters(weights) for weights in held}) == 3


def test_a_model_whose_outputs_are_probabilities_is_scored_by_squares():
    shipped = mechbp.load("topics-attention")
    run = Run.from_model(shipped.model, shipped.process, shipped.task)
    assert (run.config.model.outputs, run.config.objective.loss) == ("probabilities", "squared")


def test_large_tables_of_numbers_get_a_file_beside_the_recipe(tmp_path):
    tree = mechbp.FilteredTree(mechbp.TreeGrammar.random(5, 1.0, 5), 2)
    saved = Run.from_model(hooked(d_vocab=7, d_vocab_out=5), tree).save(tmp_path / "wide")
    assert 'rules = "rules.json"' in (tmp_path / "wide" / "run.toml").read_text()
    np.testing.assert_array_equal(saved.process.grammar.rules, tree.grammar.rules)
    small = Run.from_model(hooked(), TREE).save(tmp_path / "small").folder
    assert not list(small.glob("rules.json")) and "rules = [[[" in (small / "run.toml").read_text()


def test_untrained_is_the_same_architecture_with_other_weights(mine):
    first, again, second = (mine.untrained(seed) for seed in (1, 1, 2))
    assert first.cfg.to_dict().keys() == mine.model.cfg.to_dict().keys() and not first.training
    assert torch.equal(first.embed.W_E, again.embed.W_E) and not torch.equal(first.embed.W_E, second.embed.W_E)
    assert not torch.equal(first.embed.W_E, mine.model.embed.W_E) and mine.untrained() is not mine.model


def test_it_is_saved_loaded_and_verified(mine, tmp_path):
    saved = mine.save(tmp_path / "mine")
    loaded = mechbp.load(tmp_path / "mine")
    assert type(loaded) is Run and loaded.steps == saved.steps == (0,) and loaded.given and loaded.complete
    assert loaded.config.start.given == mine.digest and loaded.metrics[-1]["step"] == 0
    tokens = torch.from_numpy(TREE.sample(20, mechbp.rng(0, "x")).tokens)
    assert torch.equal(loaded.model(tokens), mine.model(tokens))
    np.testing.assert_allclose(loaded.process.grammar.rules, TREE.grammar.rules, rtol=0, atol=1e-15)
    assert {check.verdict for check in verify_run(loaded)} == {"pass"}
    train(tmp_path / "mine")  # there is nothing to train
    assert mechbp.load(tmp_path / "mine").digest == saved.digest
    with pytest.raises(InputError, match="holds a run already. Give another folder."):
        mine.save(tmp_path / "mine")
    with pytest.raises(InputError, match="run mine is a folder already"):
        loaded.save(tmp_path / "other")
    (tmp_path / "mine" / "step-0000000.safetensors").unlink()
    with pytest.raises(InputError, match="trained elsewhere, and their step is not here"):
        train(tmp_path / "mine")


def test_weights_of_another_model_are_found(mine, tmp_path):
    mine.save(tmp_path / "one")
    text = (tmp_path / "one" / "run.toml").read_text()
    (tmp_path / "one" / "run.toml").write_text(text.replace(mine.digest, "0" * 64))
    with pytest.raises(CheckpointError, match="another recipe"):
        mechbp.load(tmp_path / "one").at(0)


def test_weights_that_were_exchanged_under_their_recipe_are_found(mine, tmp_path):
    saved = mine.save(tmp_path / "one")
    other_weights = {f"model/{name}": weights for name, weights in mine.untrained(1).named_parameters()}
    save_checkpoint(step_file(saved.folder, 0), other_weights, 0, saved.config.trained_recipe())
    with pytest.raises(CheckpointError, match="holds other weights than start.given names"):
        mechbp.load(saved.folder).at(0)


SAVED = {
    "root": (TREE, "root", lambda: hooked(n_ctx=5)),
    "chain": (mechbp.mess3(0.15, 0.6, length=5), "next-token", lambda: hooked(5, 3, 3, attention="causal", normalization="none")),
    "topics": (mechbp.TopicModel.disjoint(3, 2, alpha=0.3, length=6), "masked", lambda: hooked(6, 8, 6, d_mlp=0)),
    "sorting": (mechbp.SortedLists(6, 3), "sort", lambda: hooked(7, 7, 7, attention="causal", d_head=3)),
}


@pytest.mark.parametrize("wing", SAVED)
def test_every_wing_can_be_saved(wing, tmp_path):
    process, task, model = SAVED[wing]
    if wing == "sorting":
        task_object = next(f for f in families.FAMILIES if f.name == "sorting").tasks["sort"]
        n_out = task_object.exact(process, process.sample(1, mechbp.rng(0, "n")).tokens).shape[-1]
        model = lambda: hooked(7, 7, n_out, attention="causal", d_head=3)  # noqa: E731
    saved = Run.from_model(model(), process, task, wing).save(tmp_path / wing)
    assert saved.family == {"root": "tree"}.get(wing, wing)
    assert {check.verdict for check in verify_run(saved)} <= {"pass", "short"} and saved.model is not None


def with_hook():
    model = hooked()
    model.add_perma_hook("blocks.0.hook_resid_post", lambda value, hook: value * torch.arange(8))
    return model


UNTOLD = {
    "another activation": (lambda: other(act_fn="silu"), r"act_fn = 'silu', .*\nact_fn 'relu', 'gelu' or 'relu2'"),
    "another normalisation": (lambda: other(normalization_type="RMS"), r"normalization_type = 'RMS'"),
    "more positions": (lambda: hooked(n_ctx=9), r"no recipe can say n_ctx = 9: in its models for this task and process it is 4"),
    "more tokens": (lambda: hooked(d_vocab=7), r"no recipe can say d_vocab = 7"),
    "rotary positions": (
        lambda: other(positional_embedding_type="rotary", rotary_dim=4),
        r"no recipe can say positional_embedding_type",
    ),
    "double precision": (lambda: other(dtype=torch.float64), r"no recipe can say dtype = torch.float64"),
    "a hook that stays": (with_hook, r"answers differently, by .*, with the same weights: this one has hooks"),
}
# The class that stands in for HookedTransformer on release 4 refuses these where the model is made.
BUILT_ON_3 = ("another activation", "rotary positions")


@pytest.mark.parametrize("kind", UNTOLD)
def test_what_no_recipe_can_say_stays_in_memory(kind, tmp_path):
    if LINE >= 4 and kind in BUILT_ON_3:
        pytest.skip("only TransformerLens 3 has a HookedTransformer with this")
    model, message = UNTOLD[kind]
    run = Run.from_model(model(), TREE)
    assert run.untrained(1) is not None and run.config.model.n_layers == 1
    with pytest.raises(InputError, match=message):
        run.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Bare(nn.Module):
    """A model with the hook protocol that is no HookedTransformer."""

    def __init__(self):
        super().__init__()
        self.inner = hooked()
        self.cfg, self.hook_dict = self.inner.cfg, self.inner.hook_dict

    def forward(self, tokens):
        return self.inner(tokens)

    def run_with_cache(self, *args, **kwargs):
        return self.inner.run_with_cache(*args, **kwargs)

    def run_with_hooks(self, *args, **kwargs):
        return self.inner.run_with_hooks(*args, **kwargs)


def test_any_model_with_hooks_will_do(tmp_path):
    run = Run.from_model(Bare(), TREE)
    random = run.untrained(1)
    assert not torch.equal(random.inner.embed.W_E, run.model.inner.embed.W_E) and isinstance(random, Bare)
    assert torch.equal(random.inner.ln_final.w, torch.ones(8))
    with pytest.raises(InputError, match="no recipe can name a Bare"):
        run.save(tmp_path / "run")


def test_a_post_norm_encoder_is_known(tmp_path):
    from mechbp.models.building import n_outputs
    from mechbp.models.config import PostNormConfig
    from mechbp.models.post_norm import build_post_norm

    task = families.TREE.tasks["masked"]
    settings = PostNormConfig("post-norm", 1, 2, 8, 8)
    run = Run.from_model(build_post_norm(settings, task, TREE, n_outputs=n_outputs(task, TREE), seed=0), TREE)
    assert run.config.model == settings and isinstance(run.save(tmp_path / "run").model, PostNormEncoder)


WRONG = {
    "a name with slashes": (lambda: Run.from_model(hooked(), TREE, name="../mine"), InputError, r"'../mine' is not a valid name; use up to 64 of a-z"),
    "no name": (lambda: Run.from_model(hooked(), TREE, name=""), InputError, "is not a valid name"),
    "no model": (lambda: Run.from_model(nn.Linear(2, 2), TREE), HookError, "Linear is no hooked model: it lacks cfg, hook_dict"),
    "another vocabulary": (lambda: Run.from_model(hooked(d_vocab=4), TREE), InputError, "the model has d_vocab = 4, this process and task need 5"),
    "other symbols": (lambda: Run.from_model(hooked(d_vocab_out=5), TREE), InputError, "the model has d_vocab_out = 5, this process and task need 3"),
    "too few positions": (lambda: Run.from_model(hooked(), TREE, "root"), InputError, "the model has n_ctx = 4, this process and task need 5"),
    "the other direction": (lambda: Run.from_model(hooked(attention="causal"), TREE), InputError, "Run.from_model: recipe: task 'masked' needs bidirectional attention, got 'causal'"),
    "an unknown task": (lambda: Run.from_model(hooked(), TREE, "sort"), InputError, "FilteredTree can be asked 'masked', 'root', 'root-all', 'next-token', got task='sort'"),
    "a task as a number": (lambda: Run.from_model(hooked(), TREE, 3), InputError, "must be the name of one or a mechbp.Task, got 3"),
    "a process that nobody knows": (lambda: Run.from_model(hooked(), object(), "masked"), InputError, "object belongs to no registered family"),
    "an object as a process": (lambda: Run.from_model(hooked(attention="causal"), object(), NextFlip()), InputError, "object breaks a law of mechbp.check_process: protocol: object lacks vocab_size, sample"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_fit_is_said(kind):
    call, error, message = WRONG[kind]
    with pytest.raises(error, match=message) as caught:
        call()
    assert str(caught.value).count("\n") <= 2


def test_weights_that_are_no_numbers_are_refused():
    model = hooked()
    with torch.no_grad():
        model.unembed.b_U[0] = torch.nan
    with pytest.raises(InputError, match="are no numbers; expected finite logits"):
        Run.from_model(model, TREE)


def test_a_process_of_ones_own_with_a_task_of_ones_own(unchecked, tmp_path):
    coin, model = BiasedCoin(length=5), hooked(5, 2, 2, attention="causal")
    run = Run.from_model(model, coin, NextFlip(), "coin")
    assert run.family == "own" and run.config.objective.task == "NextFlip" and run.process is coin
    with pytest.raises(InputError, match="no recipe can name a BiasedCoin. Write one that names the process's code beside it"):
        run.save(tmp_path / "coin")

    class Liar(BiasedCoin):
        def beliefs(self, tokens):
            return super().beliefs(tokens)[..., ::-1]

    with pytest.raises(InputError, match="Liar breaks a law of mechbp.check_process: enumeration"):
        Run.from_model(model, Liar(length=5), NextFlip(), "coin")


def test_a_registered_family_is_asked_by_name(unchecked, monkeypatch):
    family = families.Family("coin", COIN.recipes, COIN.tasks, (BiasedCoin,))
    monkeypatch.setattr(families, "_registered", [family])
    run = Run.from_model(hooked(5, 2, 2, attention="causal"), BiasedCoin(length=5), "next-token", "coin")
    assert run.family == "coin"


def test_its_pages_are_written_and_others_are_refused(mine, tmp_path, monkeypatch):
    monkeypatch.setattr(Study, "size", lambda self, full, quick: min(quick, 64))
    (page,) = mechbp.report(mine, ["tree_inference"], out=tmp_path / "pages", quick=True)
    text = page.read_text()
    assert page == tmp_path / "pages" / "tree_inference.html" and "mine" in text and "the run was trained elsewhere" in text
    with pytest.raises(InputError, match="no page 'nope'"):
        mechbp.report(mine, ["nope"], out=tmp_path)
    with pytest.raises(InputError, match="belief_geometry studies runs of the family chain, and mine is of another"):
        mechbp.report(mine, "belief_geometry", out=tmp_path)
    with pytest.raises(InputError, match="two runs are named 'mine'"):
        mechbp.report([mine, mine], "tree_inference", out=tmp_path)
    with pytest.raises(InputError, match="no run is given"):
        mechbp.report([], out=tmp_path)
    assert mechbp.report.document.Document and capture(mine.model, TREE.sample(2, mechbp.rng(0, "x")).tokens, ["hook_embed"])


def test_the_task_and_a_chains_length_are_those_of_the_family_and_the_model():
    run = Run.from_model(hooked(5, 3, 3, attention="causal"), mechbp.mess3(0.2, 0.6))
    assert run.config.objective.task == "next-token" and run.process.length == 5
    shorter = Run.from_model(hooked(5, 3, 3, attention="causal"), mechbp.mess3(0.2, 0.6, length=4))
    assert shorter.process.length == 4, "a chain that has a length keeps it"
