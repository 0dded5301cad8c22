# %% [markdown]
# # Judge a method of your own
#
# You have an idea how to find the place where a model holds a variable. On a trained model nobody can say whether it is
# right: where the variable really is, is what you want to know. mechbp compiles belief propagation into the weights of
# a transformer, so that every message has a known place and known readers. There a method can be judged: how much does
# it find of what is read, and what does it claim of copies that nobody reads?
#
# As an example: is the norm of the gradient at an activation a good guide to where a message is read?

# %%
import numpy as np
import torch

import mechbp

# %% [markdown]
# ## A method is a function
#
# It is handed a question: a model, pairs of inputs that differ in one message, a metric of the answer, and candidates,
# each a hook and the positions there. It returns one number per candidate, larger where it is more sure that the answer
# reads the message there.


# %%
def gradient_norm(question):
    """Score every candidate by the mean norm of the metric's gradient there."""
    seen = {}

    def keep(value, hook):
        seen[hook.name] = value
        value.retain_grad()

    with torch.enable_grad():
        hooks = [(name, keep) for name in question.hooks()]
        logits = question.model.run_with_hooks(torch.from_numpy(question.corrupted), fwd_hooks=hooks)
        question.metric(logits).sum().backward()
    return [float(seen[hook].grad[:, positions].norm(dim=(-2, -1)).mean()) for hook, positions in question.candidates]


# %% [markdown]
# The gradient says where the answer is sensitive, not where the two inputs differ. A second method multiplies the two:
# attribution patching, the first-order estimate of what a patch would do.


# %%
def gradient_times_change(question):
    """Score every candidate by |gradient x (clean - corrupted)|, averaged over pairs."""
    seen = {}

    def keep(value, hook):
        seen[hook.name] = value
        value.retain_grad()

    clean = mechbp.capture(question.model, question.clean, question.hooks())
    with torch.enable_grad():
        hooks = [(name, keep) for name in question.hooks()]
        logits = question.model.run_with_hooks(torch.from_numpy(question.corrupted), fwd_hooks=hooks)
        question.metric(logits).sum().backward()
    found = []
    for hook, positions in question.candidates:
        change = (clean[hook] - seen[hook].detach())[:, positions]
        found.append(float((seen[hook].grad[:, positions] * change).sum(dim=(-2, -1)).abs().mean()))
    return found


# %% [markdown]
# ## Hits and false alarms
#
# `hits`: of the places where the message is and is read, the share that was found. `false alarms`: of all others the
# share that was claimed. Where a method gives scores alone, as many places as are right are taken from the top; `auroc`
# needs no threshold, 0.5 is what random scores get. Intervals are over random grammars.

# %%
methods = {"gradient norm": gradient_norm, "gradient x change": gradient_times_change}
found = {name: mechbp.judge(method, "localisation", grammars=4, name=name) for name, method in methods.items()}
random = mechbp.judge(lambda question: question.rng.random(len(question.candidates)), "localisation", grammars=4, name="random")
for judgement in [*found.values(), random]:
    print(judgement.summary(), end="\n\n")

# %%
found["gradient x change"].plot()

# %% [markdown]
# ## Against the methods that are built in
#
# `mechbp judge` on the command line prints the same table for patching, ablation, probes, interchange and their peers;
# the page `judge` of the report shows it. Methods are compared at what they spend: `passes` counts sequences through
# the model, a backward pass twice.

# %%
page = mechbp.Report("Gradients as guides to messages", lead="Two guides, judged where every message is known.")
for name, judgement in found.items():
    page.claim(
        f"The {name} ranks what is read above what is not, better than random scores do.",
        holds="auroc_low > random_high",
        numbers={"auroc_low": float(judgement.auroc.low), "random_high": float(random.auroc.high)},
        measured=judgement.auroc,
        control=random.auroc,
    )
page.section("Judged")
for judgement in found.values():
    page.add(judgement)
print(page.write("judge-a-method.html"))
print({name: round(float(np.asarray(judgement.auroc.mean)), 3) for name, judgement in found.items()})
