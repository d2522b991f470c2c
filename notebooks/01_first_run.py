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
# # 1. A first run
#
# Five slot machines stand in a row. Each pays 1 with a probability of its own, which nobody tells you, and you have ten
# pulls. How should you spend them?
#
# A meta-learner answers by practice. It plays thousands of such bandits, each with new machines, and keeps what helps:
#
# $$\phi \;\leftarrow\; \phi - \alpha\,\nabla_\phi\; \mathbb{E}_{\text{task}}\big[\,L(f_\phi(\text{task}))\,\big],$$
#
# where $f_\phi(\text{task})$ is a *lifetime*: here ten pulls by a policy with a memory. The learner is RL² ([Duan et
# al. 2016](https://arxiv.org/abs/1611.02779)). Its parameters $\phi$ stand still while it plays; what it learns about
# the machines in front of it is in its memory.

# %% [markdown]
# ## Train
#
# One line. `preset="tiny"` chooses a small network and few meta-steps, so that this takes about a minute.

# %%
import metarl_jax

result = metarl_jax.train("rl2", "bandit", preset="tiny", quiet=True)
result

# %% [markdown]
# The table compares the trained agent (`rl2`) on bandits that it has never seen with an agent that pulls at random,
# with one that learns from scratch, and with one that knows the machines (`reference`). `rl2-greedy` is the same agent
# when it takes its most probable action.
#
# The training curve shows the same from within:

# %%
result.plot("learning")

# %% [markdown]
# ## How good can it get?
#
# For bandits the question has an exact answer. Given its wins $s$ and losses $f$, a machine's probability has the
# distribution $\mathrm{Beta}(1+s, 1+f)$, so the best policy follows from backward induction over all counts:
#
# $$V_m(\text{counts}) = \max_i \; q_i\,\big(1 + V_{m-1}(s_i + 1)\big) + (1 - q_i)\,V_{m-1}(f_i + 1),
# \qquad q_i = \frac{s_i + 1}{s_i + f_i + 2}.$$

# %%
from metarl_jax.oracles.bandit import bayes_value

table = result.evaluate(tasks=2000, from_scratch=False, quiet=True).table
chance, ours = (table.cell(row, "episode=1").value for row in ("random", "rl2"))
best = bayes_value(arms=5, pulls=10)
print(f"at random {chance:.2f}, trained {ours:.2f}, Bayes-optimal {best:.3f}")
print(f"share of the way from random to optimal: {(ours - chance) / (best - chance):.0%}")

# %% [markdown]
# With the default preset in place of `tiny`, minutes in place of seconds, the gap closes almost completely: 6.646 of
# 6.660 ([results](../docs/results.md)).
#
# ## Watch it play
#
# Each bar is a machine: its height is the posterior mean, the line is the truth, the number below counts pulls, and the
# dark one was pulled last. A good player tries machines, and returns to the one that pays.

# %%
result.play()

# %% [markdown]
# ## Play yourself, beside it
#
# `result.policy()` is the agent as an object. It acts one step at a time in *your* environment, and learns from what
# you tell it. Here your environment is two lines: machine 3 pays always, the others never.

# %%
import jax

agent = result.policy(seed=1)
pulls = []
for _ in range(10):
    arm = int(agent.act(jax.numpy.zeros(1)))
    agent.observe(reward=float(arm == 3), terminated=False)
    pulls.append(arm)
print("pulled:", pulls)

# %% [markdown]
# ## Where to go
#
# - The same from the command line: `metarl train rl2 bandit --preset tiny`, then `metarl report runs/rl2-bandit-0-1`.
# - A larger job, in three minutes: `make demo` trains an agent that finds its way through unknown mazes.
# - Next: [your own environment](02_your_environment.ipynb).
