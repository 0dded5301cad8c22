# %% [markdown]
# # Read a message, then write it
#
# A transformer was trained to fill in a hidden leaf of a tree. Exact inference on that tree passes messages: what the
# leaves below a node say about its symbol goes up, what the rest says comes down. Three questions, each stronger than
# the one before:
#
# 1. Are the model's answers the exact ones?
# 2. Can a message be *read* from its activations?
# 3. Does the model *use* it: does writing another message make its answer what exact inference says with that message
#    replaced?
#
# It takes ten seconds of one processor core.

# %%
import numpy as np

import mechbp

run = mechbp.load("tree-mlm-k0")  # a HookedTransformer, and the process that it was trained on
model = run.model
tree = run.process
print(tree.depth, "levels,", tree.n_leaves, "leaves,", tree.vocab_size, "symbols;", model.cfg.n_layers, "blocks")

# %% [markdown]
# ## 1. Are its answers exact?
#
# Every leaf of 300 held-out sequences is hidden in turn. KL(exact || model) is what the model misses, in nats.

# %%
agreement = mechbp.score(model, tree, task="masked", n=300, rng=mechbp.rng(0, "score"))
print(agreement.summary())

# %% [markdown]
# ## 2. Can a message be read?
#
# The upward message of a leaf's parent is a function of two leaves. A ridge probe looks for it in the residual stream
# after every block. A probe that finds it proves little by itself, so there are controls: the token at the position and
# nothing else, messages shuffled over sequences, and the same architecture with random weights.

# %%
tokens = tree.sample(2000, mechbp.rng(0, "sequences")).tokens
beliefs = tree.beliefs(tokens)
parent = {"parent": beliefs.upward[tree.depth - 1]}  # [sequence, node, symbol]
own = {"parent": np.arange(tree.n_leaves) // 2}  # the parent of every leaf
hooks = ["hook_embed", "blocks.*.hook_resid_post"]
twin = run.untrained(1)  # the same architecture with random weights
grid = mechbp.probe(model, tokens, parent, hooks=hooks, own=own, only_own=True, control_model=twin, rng=mechbp.rng(0, "probe"))
print(grid.summary())
grid.plot("parent", own=True)

# %% [markdown]
# ## 3. Is it used?
#
# At a hook, the directions along which the activation moves with the message are found on some sequences. On others,
# the component of one sequence along them is replaced by another's. 1 on the scale is the answer of exact inference
# with that one message replaced; 0 is the answer without any edit. The controls: a random subspace whose change has the
# same size, and another sequence's message, which has to lead elsewhere.

# %%
written = mechbp.interchange(model, tree, "blocks.0.hook_resid_post", depth=tree.depth - 1, rng=mechbp.rng(0, "write"))
print(written.summary())
written.plot()

# %% [markdown]
# What can be written need not be needed. Erasing asks whether the answer becomes what exact inference says *without*
# the message.

# %%
erased = mechbp.erase(model, tree, "blocks.0.hook_resid_post", depth=tree.depth - 1, rng=mechbp.rng(0, "erase"))
print(erased.summary())

# %% [markdown]
# ## A page of one's own
#
# Claims carry the rule that decides them; text, results and plotly figures are added in the order in which they shall
# be read.

# %%
read = grid.own_mean("r2", "parent")
token = grid.own_mean("r2", "parent", "tokens")
last = len(grid.hooks) - 1
page = (
    mechbp.Report("Read a message, then write it", lead="The parent's message, read and written.", runs=[run], seeds={"all": 0})
    .claim(
        "The message of a leaf's parent can be read after the last block, beyond what the token tells.",
        holds="read_low > token_high",
        numbers={"read_low": read.low[last], "token_high": token.high[last]},
        measured=read[last],
        control=token[last],
        figure="probe",
    )
    .section("Read")
    .add(grid, id="probe", target="parent", own=True)
    .section("Written and erased")
    .add(written)
    .add(erased)
)
print(page.write("read-and-write.html"))
