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
# # 4. Compare two methods honestly
#
# "A is better than B" can mean little: one lucky seed, tasks that happened to suit A, a step size that was tuned for A
# only. This notebook gives both methods the same tasks, the same budget and several seeds, and says what the numbers
# allow us to say.
#
# The question: **does a memory help on bandits?** One policy has a GRU that lasts through ten pulls; the other is the
# same network without memory, the best that a single policy for all bandits can be.

# %% [markdown]
# ## First, a fair step size
#
# A sweep trains every combination of options and seeds. Those that differ only in seed and float options share *one*
# program: they are lanes of the same arrays, so that six runs compile once.

# %%
import metarl_jax

budget = {"preset": "tiny", "meta_steps": 30, "tasks": 128, "from_scratch": False, "quiet": True}
sweep = metarl_jax.sweep("rl2", "bandit", over={"meta_lr": [4e-3, 1.2e-2, 3.6e-2]}, seeds=2, **budget)
sweep

# %%
sweep.plot()

# %% [markdown]
# The best value should lie inside the grid; at its edge, the grid goes on. Two seeds make wide bars, in which
# neighbours on the grid cannot be told apart: good enough to choose a step size, and no result. The winner was chosen
# by these numbers, so they flatter it. From here on we take it as given and draw new seeds.

# %%
best = sweep.winner.options["meta_lr"]
print("step size:", best)

# %% [markdown]
# ## Then, several seeds of each
#
# `seeds=5` trains five runs in one program, in one folder. The intervals of its table are *over seeds*: they answer
# "what if I trained again?", whereas intervals over tasks answer "what if I evaluated again?".

# %%
settings = {**budget, "meta_lr": best, "seed": 10, "seeds": 5}
with_memory = metarl_jax.train("rl2", "bandit", memory="gru", **settings)
without = metarl_jax.train("rl2", "bandit", memory="none", **settings)
with_memory

# %% [markdown]
# ## The comparison
#
# `compare` lets all runs live in the same held-out tasks, so that differences are paired: what a hard bandit costs both
# is subtracted. For methods with returns $x_{s,t}$ by seed and task it gives the difference of the means with an
# interval that counts both seeds and tasks, the interquartile mean ([Agarwal et al.
# 2021](https://arxiv.org/abs/2108.13264)), which a single failed seed cannot move, and the probability of improvement
#
# $$P(A > B) = \frac{1}{S^2 T}\sum_{s, s', t} \mathbf{1}[x^A_{s,t} > x^B_{s',t}] + \tfrac12\,\mathbf{1}[x^A_{s,t} =
# x^B_{s',t}].$$

# %%
table = metarl_jax.compare(without, with_memory, tasks=500)
table

# %% [markdown]
# In words, as `metarl compare` prints them:

# %%
from metarl_jax.experiment.comparison import verdicts

print(*verdicts(table), sep="\n")

# %% [markdown]
# ## What a comparison cannot say
#
# Now two methods that hardly differ: the same GRU, trained with two values of a discount that a bandit of ten pulls
# hardly feels. An honest tool says so, and does not round it up.

# %%
other = metarl_jax.train("rl2", "bandit", memory="gru", gamma=0.98, **settings)
same = metarl_jax.compare(with_memory, other, tasks=500)
print(*verdicts(same), sep="\n")

# %% [markdown]
# The same from the command line, each wish one command:
#
# ```sh
# metarl sweep rl2 bandit --over meta_lr=4e-3,1.2e-2,3.6e-2 --seeds 2
# metarl train rl2 bandit --memory gru --seeds 5
# metarl train rl2 bandit --memory none --seeds 5
# metarl compare runs/rl2-bandit-seeds-2 runs/rl2-bandit-seeds-1
# ```
#
# Next: [meta-gradients beside the exact one](05_meta_gradients.ipynb).
