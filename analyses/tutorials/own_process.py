# %% [markdown]
# # A process of your own
#
# Somewhere a lamp is on or off, and every minute it stays as it is or switches. There are three kinds of lamps: one stays with
# probability 0.2, one with 0.5, one with 0.9, and nobody says which kind this one is. Who has watched it for a while can say
# exactly how probable each kind is (Bayes' rule), and so how probable "on" is in the next minute. A transformer that is trained
# to guess the next minute has to find that out. Does it, and can the probabilities of the kinds be read off its activations?
#
# mechbp knows no lamps. This script tells it what one is, trains a model in seconds, probes it against the exact posterior, and
# writes a page about it. Put your process in the place of the lamp.

# %%
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch

import mechbp
from mechbp.errors import InputError
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.processes.process import Joint, Query

# %% [markdown]
# ## The process: draw sequences, and say the exact posterior
#
# `sample` draws; `beliefs` is the exact answer, P(kind | what was seen) after every minute. `small` and `joint` are for the check
# below: a lamp watched so briefly that all its sequences can be listed, and that list with probabilities, in the plainest way
# there is.


# %%
@dataclass(frozen=True)
class Watched:
    tokens: np.ndarray  # [n, minute], 0 off, 1 on
    kind: np.ndarray  # [n]


@dataclass(frozen=True)
class Lamp:
    stay: tuple[float, ...] = (0.2, 0.5, 0.9)  # of every kind of lamp, the probability that it stays as it is
    length: int = 13  # minutes; a model reads all but the last and guesses all but the first
    vocab_size = 2

    def sample(self, n, rng):
        kind = rng.integers(len(self.stay), size=n)
        switches = rng.random((n, self.length)) >= np.array(self.stay)[kind, None]
        switches[:, 0] = rng.random(n) < 0.5  # the first minute says nothing
        return Watched(switches.cumsum(axis=1) % 2, kind)

    def beliefs(self, tokens):
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or (tokens.size and not 0 <= tokens.min() <= tokens.max() <= 1):
            raise InputError("Lamp.beliefs: tokens must be integers [n, minute], 0 or 1.")
        likelihood = self.steps(tokens).cumprod(axis=1)  # [n, minute, kind]
        return likelihood / likelihood.sum(axis=-1, keepdims=True)

    def steps(self, tokens):
        """P(this minute | the one before, kind) as [n, minute, kind]."""
        stayed = (tokens[:, 1:] == tokens[:, :-1])[..., None]
        first = np.full((len(tokens), 1, len(self.stay)), 0.5)
        return np.concatenate([first, np.where(stayed, self.stay, 1 - np.array(self.stay))], axis=1)

    def small(self):
        return replace(self, length=min(self.length, 4))

    def joint(self):
        states = np.array(list(product(range(len(self.stay)), *[(0, 1)] * self.length)))  # every kind, every sequence
        kind, tokens = states[:, 0], states[:, 1:]
        probability = self.steps(tokens)[np.arange(len(states)), :, kind].prod(axis=1) / len(self.stay)
        so_far = np.tri(self.length, dtype=bool)  # after minute t the minutes 0..t are known
        asked = Query(lambda lamp, seen: lamp.beliefs(seen), np.repeat(kind[:, None], self.length, axis=1), so_far)
        return Joint(tokens, probability, {"kind": asked})


# %% [markdown]
# ## Is it what it says?
#
# `check_process` compares `beliefs` and `sample` with plain sums over `joint`, and names the laws that are broken, if any is. It
# takes a second, and a wrong posterior would make every number after it wrong.

# %%
lamp = Lamp()
mechbp.check_process(lamp, mechbp.rng(0, "check"))

# %% [markdown]
# ## The question: what is a model asked, and what is the exact answer?
#
# A `mechbp.Task` asks for the next token at every position unless you say otherwise, so that one method is all that is needed:
# the exact answer to every question, [n, position, symbol].


# %%
class NextMinute(mechbp.Task):
    def exact(self, process, tokens):
        stays = process.beliefs(tokens) @ np.array(process.stay)
        on = np.where(tokens == 1, stays, 1 - stays)
        return np.stack([1 - on, on], axis=-1)


# %% [markdown]
# ## A model, in seconds
#
# `build_model` returns a plain HookedTransformer of TransformerLens with random weights; yours may come from anywhere else. It is
# trained on sampled sequences alone and never sees a posterior.

# %%
config = ModelConfig(n_layers=2, n_heads=2, d_model=32, d_mlp=64, attention="causal")
model = build_model(config, d_vocab=2, d_vocab_out=2, n_ctx=lamp.length - 1, seed=0)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(500):
    seen = torch.from_numpy(lamp.sample(128, mechbp.rng(0, "train", step)).tokens)
    loss = torch.nn.functional.cross_entropy(model(seen[:, :-1]).flatten(0, 1), seen[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %% [markdown]
# ## How near is it to the exact answer?
#
# A model, a process and a task make a run, which every part of mechbp takes that knows no setting.

# %%
run = mechbp.Run.from_model(model, lamp, task=NextMinute(), name="lamp")
score = mechbp.score(run.model, lamp, task=run.task, n=1000, rng=mechbp.rng(0, "score"))
print(score.summary())

# %% [markdown]
# ## Can the posterior be read off the residual stream?
#
# A linear probe reads P(kind | seen so far) at every position, on sequences that it was not fitted on. `own` says which minute
# belongs to which position. Beside it stands the same probe of a model with random weights: how much of the posterior lies open
# in the tokens themselves.

# %%
tokens = lamp.sample(2000, mechbp.rng(0, "probe")).tokens[:, :-1]
grid = mechbp.probe(
    run.model,
    tokens,
    {"kind": lamp.beliefs(tokens)},
    hooks=["blocks.*.hook_resid_post"],
    rng=mechbp.rng(0, "probe"),
    control_model=run.untrained(seed=1),
    own={"kind": np.arange(tokens.shape[1])},
    only_own=True,
)
print("R2 of P(kind | seen so far), trained model:", grid.own_mean("r2", "kind").mean)
print("R2 of the same, random weights:             ", grid.own_mean("r2", "kind", "random_init").mean)

# %% [markdown]
# ## A page
#
# `exact_answers` is the page that knows no setting. It needs no browser and no network: one file that can be sent to a colleague.

# %%
(page,) = mechbp.report(run, ["exact_answers"], out="pages", quick=True)
print("Open", page)

# %% [markdown]
# ## From here
#
# To let mechbp train the model, with stored steps and curves, put the process into a file beside a recipe:
# `mechbp new runs/own --like own` writes both, `mechbp train runs/own --trust` trains, `mechbp report --run runs/own --trust`
# makes the pages. For a process that many runs and pages share, `mechbp.register(mechbp.Family(...))` adds a family.
