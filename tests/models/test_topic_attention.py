"""The theory's one-layer model: its forward, its fast reading, the oracle's gradients, and its life as a run."""

import dataclasses

import numpy as np
import pytest
import torch
from small_runs import toml

import mechbp
from mechbp.errors import InputError
from mechbp.models.building import BUILDERS
from mechbp.models.config import TopicAttentionConfig, read_recipe
from mechbp.models.forward import LEAST, probabilities
from mechbp.models.objectives import Batch, training_batch, training_loss
from mechbp.models.runs import load
from mechbp.models.tasks.chain import CHAIN
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.topics import TOPICS
from mechbp.models.topic_attention import TRAINED, build_topic_attention
from mechbp.models.training import train
from mechbp.models.verify import verify_run
from mechbp.processes.chain.library import mess3
from mechbp.processes.topics.supports import SupportMixture
from mechbp.processes.topics.topic_model import TopicModel
from mechbp.randomness import rng
from mechbp.theory.topics.parameters import TopicParameters, population_gradients
from mechbp.theory.topics.setting import TopicSetting

CORPUS = TopicModel.disjoint(3, 2, alpha=0.3, length=(4, 7))
CONFIG = TopicAttentionConfig("topic-attention", "joint", sigma=0.7, bias=True)
RECIPE = {
    "process": {"kind": "topics", "n_topics": 3, "words_per_topic": 2, "alpha": 0.3, "length_low": 8, "length_high": 12},
    "model": {"kind": "topic-attention", "regime": "joint", "bias": True},
    "objective": {"task": "mask-b"},
    "training": {
        "steps": 120, "batch_size": 32, "learning_rate": 2e-2, "warmup_steps": 0, "weight_decay": 0.0, "stored_steps": 2,
        "measured_steps": 3, "resume_every": 50,
    },
}  # fmt: skip


def model_of(task="mask-b", config=CONFIG, process=CORPUS, seed=1):
    model = build_topic_attention(config, TOPICS.tasks[task], process, seed).double()
    with torch.no_grad():
        model.unembed.b_U += torch.arange(process.vocab_size) / 10
    return model


def documents(task="mask-b", n=6, process=CORPUS):
    lesson = TOPICS.tasks[task].lesson(process, ObjectiveConfig(task), TOPICS.tasks[task].draw(process, n, rng(3)), rng(4))
    return torch.from_numpy(lesson.inputs), torch.from_numpy(lesson.reads)


def by_hand(model, tokens):
    """The same function from the weights, one query at a time, in NumPy."""
    weights = {name: value.detach().numpy() for name, value in (("E", model.W_E), ("U", model.W_U), ("b", model.unembed.b_U))}
    weights |= {name: getattr(model, f"W_{name}")[0, 0].detach().numpy() for name in "QKV"}
    out = np.zeros((*tokens.shape, len(weights["b"])))
    for i, document in enumerate(tokens):
        ids = document % model.n_ids
        keys = [j for j in range(len(ids)) if document[j] < model.n_ids and ids[j] != model.pad]
        for query in range(len(ids)):
            asked = weights["E"][ids[query]] @ weights["Q"]
            scores = np.array([weights["E"][ids[j]] @ weights["K"] @ asked for j in keys]) / np.sqrt(weights["Q"].shape[1])
            share = np.exp(scores - scores.max())
            share /= share.sum()
            mixed = sum(w * weights["E"][ids[j]] for w, j in zip(share, keys, strict=True))
            out[i, query] = mixed @ weights["V"] @ weights["U"] + weights["b"]
    return out


@pytest.mark.parametrize("regime", TRAINED)
@pytest.mark.parametrize("task", ["mask-a", "mask-b"])
def test_forward_equals_a_recomputation_by_hand(regime, task):
    model = model_of(task, TopicAttentionConfig("topic-attention", regime, sigma=0.7))
    tokens, reads = documents(task)
    with torch.no_grad():
        found = model(tokens).numpy()
        np.testing.assert_allclose(found, by_hand(model, tokens.numpy()), rtol=0, atol=1e-10)
        np.testing.assert_allclose(model.read(tokens, reads).numpy(), found[reads.numpy()], rtol=0, atol=1e-10)


@pytest.mark.parametrize("regime", TRAINED)
def test_only_the_trained_parts_are_parameters(regime):
    names = {
        name.rpartition(".")[2] for name, _ in model_of(config=TopicAttentionConfig("topic-attention", regime)).named_parameters()
    }
    assert names == set(TRAINED[regime])


def test_hidden_keys_get_no_attention_and_pad_none():
    model = model_of()
    tokens, _ = documents()
    pattern = mechbp.capture(model, tokens, ["blocks.0.attn.hook_pattern"])["blocks.0.attn.hook_pattern"]
    unseen = (tokens >= model.n_ids) | (tokens % model.n_ids == model.pad)
    assert unseen.any()
    assert (pattern.transpose(1, 3)[unseen] == 0).all()
    torch.testing.assert_close(pattern.sum(-1), torch.ones_like(pattern[..., 0]))


def test_word_order_is_nothing():
    model = model_of("mask-a")
    tokens, _ = documents("mask-a")
    order = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens[:, order]), model(tokens)[:, order], rtol=0, atol=1e-12)


def test_a_document_without_a_visible_token_is_refused():
    model = model_of()
    tokens = torch.full((2, 4), model.n_ids)
    tokens[0, 0] = 1
    with pytest.raises(InputError, match="document 1"):
        model(tokens)


def test_key_masks_and_weights_act_as_said():
    model = model_of("mask-a")
    tokens = torch.tensor([[0, 1, 2, 6]])
    mask = torch.tensor([[True, False, True, True]])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens, key_mask=mask)[:, [0, 2, 3]], model(tokens[:, [0, 2, 3]]))
        thrice = model(torch.tensor([[0, 1, 1, 1, 2]]))
        weights = torch.tensor([[1.0, 3.0, 1.0]]).log().double()
        torch.testing.assert_close(model(torch.tensor([[0, 1, 2]]), log_key_weight=weights), thrice[:, [0, 1, 4]])


@pytest.mark.parametrize("loss", ["squared", "ce"])
def test_gradients_equal_the_population_oracle(loss):
    """Types with their frequencies as weights are the infinite document; every query type enters by its share."""
    setting = TopicSetting(3, 2, 2)
    process = SupportMixture.disjoint(3, 2, 2, length=10)
    model = model_of("mask-a", TopicAttentionConfig("topic-attention", "joint", sigma=0.4), process)
    words = setting.n_words
    mass = setting.key_mass()
    seen = torch.from_numpy(np.hstack([setting.spread(mass[:, :-1]), mass[:, -1:]]))
    wanted = torch.from_numpy(setting.spread(setting.supports() / 2))
    ids = torch.arange(words + 1).tile(len(seen), 1)
    output = model(ids, log_key_weight=seen.log())
    joint = torch.zeros(len(seen), words + 1, words, dtype=torch.float64)  # P(query shows x, target y)
    joint[:, -1] = (1 - setting.keep - setting.random) * wanted
    for word in range(words):
        joint[:, word] += setting.random / words * wanted
        joint[:, word, word] += setting.keep * wanted[:, word]
    each = output.square().sum(-1, keepdim=True) - 2 * output + 1 if loss == "squared" else -output.log_softmax(-1)
    total = (joint * each).sum(dim=(1, 2)).mean()
    total.backward()
    rows = [*range(words), model.pad - 1]
    parameters = TopicParameters(
        embed=np.eye(words + 1),
        query=model.W_Q[0, 0].detach().numpy()[rows],
        key=model.W_K[0, 0].detach().numpy()[rows],
        value=model.W_V[0, 0].detach().numpy()[rows],
        unembed=np.vstack([np.eye(words), np.zeros((model.W_V.shape[-1] - words, words))]),
        bias=model.unembed.b_U.detach().numpy(),
    )
    found = population_gradients(parameters, setting, loss)
    assert found.loss == pytest.approx(float(total.detach()), rel=1e-12)
    np.testing.assert_allclose(found.gradients.value, model.blocks[0].attn.W_V.grad[0].numpy()[rows], rtol=1e-9, atol=1e-14)


def test_outputs_that_are_probabilities_are_read_as_such():
    model = model_of(config=TopicAttentionConfig("topic-attention", "wv", outputs="probabilities"))
    found = probabilities(model, torch.tensor([[0.5, -0.2, 0.5, 0.0, 0.0, 0.0]]))
    assert found.sum().item() == pytest.approx(1)
    assert found[0, 1].item() == pytest.approx(LEAST, rel=1e-3)
    assert found[0, 0].item() == pytest.approx(0.5, rel=1e-4)


def test_a_task_without_documents_is_refused():
    with pytest.raises(InputError, match="mask-a"):
        BUILDERS[TopicAttentionConfig](CONFIG, CHAIN.tasks["next-token"], mess3(0.05, 0.85).of_length(5), 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "topics"
    folder.mkdir()
    (folder / "run.toml").write_text(toml(RECIPE))
    train(folder)
    return load(folder)


def test_it_is_a_run_like_any_other(run):
    assert run.family == "topics"
    assert all(check.verdict == "pass" for check in verify_run(run))
    assert run.metrics[-1]["kl_exact_to_model_nats"] < run.metrics[0]["kl_exact_to_model_nats"]
    assert "blocks.0.attn.hook_pattern" in str(mechbp.hook_table(run.model))


def test_the_general_methods_take_it(run):
    sample = run.task.draw(run.process, 300, rng(0))
    asked = run.task.questions(run.process, sample)
    inputs = run.task.prompts(run.process, asked.tokens).inputs
    theta = run.process.beliefs(np.where(asked.tokens < 6, asked.tokens, -1)).proportions
    grid = mechbp.probe(run.model, inputs, {"topics": theta[:, None]}, hooks=["blocks.0.attn.hook_z"], rng=rng(1))
    assert np.nanmax(grid.r2["topics"]) > 0.9  # a layer of attention reads the histogram, on which the posterior depends linearly
    effects = mechbp.patch(run.model, inputs[:20], inputs[20:40], lambda out: out[:, 1, 0], hooks=["blocks.0.attn.hook_v"])
    assert np.isfinite(effects.normalized).any()


@pytest.mark.parametrize("change", [{"optimizer": "sgd", "learning_rate": 0.5}, {"l2": 0.01}])
def test_the_recipe_says_how_it_is_trained(run, tmp_path, change):
    tables = RECIPE | {"training": RECIPE["training"] | change | {"steps": 3}}
    (tmp_path / "run.toml").write_text(toml(tables))
    train(tmp_path)
    config = read_recipe(tmp_path / "run.toml")
    process = config.process.build()
    expected = load(tmp_path).at(0)
    parameters = dict(expected.named_parameters())
    optimizer = (
        torch.optim.SGD(parameters.values(), lr=1.0)
        if "optimizer" in change
        else torch.optim.AdamW(parameters.values(), betas=(0.9, 0.99), weight_decay=0.0)
    )
    for step in range(3):
        batch = training_batch(config, process, step)
        loss = training_loss(expected(batch.inputs)[batch.reads], batch)
        loss = loss + change.get("l2", 0.0) * sum(p.square().sum() for p in parameters.values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), config.training.gradient_clip)
        for group in optimizer.param_groups:
            group["lr"] = config.training.learning_rate * (3 - step) / 3
        optimizer.step()
    for name, found in load(tmp_path).model.named_parameters():
        torch.testing.assert_close(found, parameters[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("model", {"outputs": "probabilities"}, "needs a model whose outputs are logits"),
        ("objective", {"loss": "squared"}, "needs a model whose outputs are probabilities"),
        ("model", {"same": 0.1}, "regime 'kq'"),
        ("model", {"regime": "all"}, "must be one of 'emb'"),
        ("model", {"bias": 1}, "true or false"),
        ("objective", {"targets": "posteriors"}, "shows MASK in the place"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(tmp_path, table, change, message):
    (tmp_path / "run.toml").write_text(toml(RECIPE | {table: RECIPE[table] | change}))
    with pytest.raises(InputError, match=message):
        config = read_recipe(tmp_path / "run.toml")
        training_batch(config, config.process.build(), 0)


def test_squared_loss_is_the_distance_to_the_answer():
    everywhere = torch.ones(1, 2, dtype=torch.bool)
    batch = Batch(torch.zeros(1, 2, dtype=torch.int64), everywhere, torch.tensor([1, 0]))
    read = torch.tensor([[0.2, 0.8], [0.4, 0.4]])
    assert training_loss(read, batch, "squared").item() == pytest.approx((0.04 + 0.04 + 0.36 + 0.16) / 2)
    batch = dataclasses.replace(batch, targets=torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert training_loss(read, batch, "squared").item() == pytest.approx((0.09 + 0.09 + 0.36 + 0.16) / 2)
