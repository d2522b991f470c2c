# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. A rule that is learned, saved, and teaches fresh agents elsewhere
#
# In MAML and RL², φ is the agent itself. It can be something else: a *rule* that newborn agents learn by, which has
# never met them. A discount, a reward, a loss, a drift, or, as here, an **optimiser**: a small recurrent network that
# turns the gradients of a parameter into its update,
#
# $$\theta \leftarrow \theta + u_\phi\big(g,\ \text{momenta},\ \text{layer},\ \text{share of life}\big),$$
#
# the same network for every parameter of every agent. An agent is born at random, learns for eight short rollouts, and
# dies. The rule is judged by the return at the end of its life. Such a life is long and its derivative noisy, so that
# evolution improves φ ([Goldie et al. 2024](https://arxiv.org/abs/2407.07082)).

# %% [markdown]
# ## Learn the rule on tiny worlds
#
# Random decision processes of 5 states and 3 actions, 20 meta-steps. The control is the same optimiser as it is born,
# `meta_lr=0`: nearly Adam.

# %%
import matplotlib.pyplot as plt

import metarl_jax

life = {"envs": 8, "steps": 10, "adaptations": 8, "hidden": (16,), "pairs": 8}
quiet = {"quiet": True, "from_scratch": False}
small = {"states": 5, "actions": 3, "steps": 10, "episodes": 1}
learned = metarl_jax.train(
    "learned_optimizer", "tabular", env=small, meta_steps=20, meta_lr=0.03, evaluation_tasks=100, **life, **quiet
)
newborn = metarl_jax.train(
    "learned_optimizer", "tabular", env=small, meta_steps=1, meta_lr=0.0, evaluation_tasks=0, **life, **quiet
)
learned

# %% [markdown]
# ## What was saved
#
# The run ends with a folder `rule/` of two files: φ as safetensors, in which nothing can be executed, and a card that
# says what it is, what it reads, how it was trained, and the checksums of both.

# %%
rule = metarl_jax.load_rule(learned.path)
print("reads:", rule.card["reads"])
print("trained:", {name: rule.card["training"][name] for name in ("meta_steps", "env_steps", "seed", "date")})
print("leaves:", *(f"{name} {array.shape}" for name, array in sorted(rule.leaves.items())), sep="\n  ")

# %% [markdown]
# ## Teach fresh agents elsewhere
#
# One call. The environment has twice the states and more actions, so that no agent here has the shape of any agent that
# the rule has seen. φ stays as it is; the only thing that learns is the newborn agent.

# %%
large = {"states": 10, "actions": 5, "steps": 10, "episodes": 1}


def taught_by(run):
    """Fresh agents in larger worlds, by the rule of a run."""
    return metarl_jax.train(rule=run.path, environment="tabular", env=large, meta_steps=1, evaluation_tasks=0, **quiet)


by_learned, by_newborn = taught_by(learned), taught_by(newborn)
lessons = {
    name: run.evaluate(tasks=300, from_scratch=False, quiet=True)
    for name, run in {"the learned optimiser": by_learned, "as it was born, nearly Adam": by_newborn}.items()
}
lessons["the learned optimiser"]

# %% [markdown]
# Two rules, the same worlds, the same newborn agents: does the learned one teach better?

# %%
from metarl_jax.experiment.comparison import verdicts

table = metarl_jax.compare(by_newborn, by_learned, tasks=300)
print(f"by the learned rule: {by_learned.path.name}", *verdicts(table), sep="\n")


# %%
figure, panel = plt.subplots(figsize=(6.4, 4), layout="constrained")
ends = {}
for name, lesson in lessons.items():
    steps, rows = zip(*lesson.table.curve("learned_optimizer", "step"), strict=True)
    values, intervals = [row.value for row in rows], [row.interval for row in rows]
    panel.plot(steps, values, marker="o", markersize=3, label=name)
    panel.fill_between(steps, *zip(*intervals, strict=True), alpha=0.2)
    ends[name] = values[-1]
panel.set(xlabel="rollouts that the newborn agent has learned from", ylabel="return in unseen, larger worlds")
panel.legend(frameon=False)
figure

# %% [markdown]
# ## The same with other rules
#
# ```sh
# metarl train learned_rule delayed_chain                       # the whole update, LPG
# metarl train --rule runs/learned_rule-delayed_chain-0-1 catch # fresh agents in another game
# metarl compare runs/policy_gradient-catch-0-1 runs/learned_rule-catch-0-1
# ```
#
# What fits where: numbers fit everywhere; the networks of `learned_rule`, `drift` and `learned_optimizer` fit wherever
# the kind of actions does; a reward network only where observations and actions have the same sizes. A rule that does
# not fit is refused, and the first leaf that differs is named. [Learned rules](../docs/rules.md) says which to use for
# what.
#
# That was the last notebook. [Choose a learner](../docs/choose.md) says what fits your own problem.
