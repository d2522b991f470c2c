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
# # 3. Your own algorithm
#
# Everything in this library is one sentence:
#
# $$\phi \;\leftarrow\; \phi - \alpha\,\nabla_\phi\; \mathbb{E}_{\text{task}}\big[\,L(f_\phi(\text{task}))\,\big].$$
#
# An algorithm answers four questions about it. **What is φ?** **How is an agent born from it?** **How does it adapt?**
# **How does φ improve?** This notebook answers each differently from MAML, one at a time, and measures what changes.
# The tasks are goals in the plane that only the rewards reveal.

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from metarl_jax import Agent, Learner, Recipe, Update, Window, World, backprop, begin, evaluate, evolution, final
from metarl_jax import inner_gradient, make_environment, meta_learner, mlp_policy, negative_return, reinforce, run

environment = make_environment("navigation", steps=20)
policy = mlp_policy(environment, (32, 32))
loss = reinforce(policy)
TURNS = 3  # adaptations of an agent

# %% [markdown]
# ## An update rule of your own
#
# MAML's agent is born with $\theta = \phi$ and takes gradient steps of a fixed size. Here the sizes are learned, one
# for each adaptation: the first step, from far away, may want to be larger than the last,
#
# $$\phi = (\theta_0, \rho_1, \dots, \rho_K), \qquad
# \theta_k = \theta_{k-1} - e^{\rho_k}\,\nabla_\theta L(\theta_{k-1}).$$
#
# A learner is two pure functions. `birth` makes the newborn agent; its `state` counts the adaptations. `adapt` is the
# rule. The one thing to remember: take gradients *inside* a lifetime by `inner_gradient`, whose own derivative is
# forward over reverse, and reaches θ and φ alike.

# %%
gradient = inner_gradient(lambda theta, phi, seen: loss(theta, seen))


def learned_schedule():
    def init(key):
        return {"params": policy.init(key), "log_rates": jnp.full(TURNS, jnp.log(0.1))}

    def birth(phi, key):
        return Agent(phi["params"], jnp.int32(0))

    def adapt(phi, agent, seen, key):
        rate = jnp.exp(phi["log_rates"])[jnp.minimum(agent.state, TURNS - 1)]
        direction = gradient(agent.params, phi["params"], seen)
        return Agent(jax.tree.map(lambda p, g: p - rate * g, agent.params, direction), agent.state + 1)

    return Learner(init, birth, adapt)


# %% [markdown]
# The control is the same learner with its rates frozen at 0.1, which is MAML. Freezing is one word of JAX.


# %%
def fixed_schedule():
    learner = learned_schedule()

    def frozen(phi):
        return phi | {"log_rates": jax.lax.stop_gradient(phi["log_rates"])}

    return learner._replace(adapt=lambda phi, agent, seen, key: learner.adapt(frozen(phi), agent, seen, key))


# %% [markdown]
# A `World` says where agents live and how long a turn is: here 10 parallel episodes of 20 steps. A `Window` says how
# many turns a meta-step lives. `backprop` improves φ by the loss after the last adaptation.


# %%
def window_of(learner):
    return Window(World(environment, policy, learner, envs=10, steps=20, quota=1), TURNS)


def by_backprop(learner):
    window = window_of(learner)
    return Recipe(window, backprop(window, final(loss), optax.adam(3e-3)))


# %% [markdown]
# ## Train, and judge on held-out tasks
#
# A meta-learner is two pure functions, too. A whole training is one `scan`.


# %%
def trained(recipe, meta_steps=200, tasks=16, seed=0):
    """φ after training."""
    meta = meta_learner(recipe.window, recipe.update, tasks)

    @jax.jit
    def train(key):
        return jax.lax.scan(meta.step, meta.init(key), jax.random.split(key, meta_steps))[0]

    return train(jax.random.key(seed)).meta_params


goals = jax.vmap(lambda key: environment.sample_task(key, "test"))(jax.random.split(jax.random.key(9), 200))


@functools.partial(jax.jit, static_argnums=0)
def curve(world, phi):
    """The mean return in 200 held-out tasks after 0, 1 ... K adaptations."""
    return evaluate(world, phi, goals, jax.random.key(10), TURNS).returns.mean(axis=(0, 2))


# %%
learned, fixed = learned_schedule(), fixed_schedule()
curves = {"a random network": curve(window_of(fixed).world, fixed.meta_init(jax.random.key(0)))}
rates = {}
for name, learner in {"learned rates": learned, "fixed rates (MAML)": fixed}.items():
    phi = trained(by_backprop(learner))
    curves[name], rates[name] = curve(window_of(learner).world, phi), jnp.exp(phi["log_rates"])
    said = [np.round(np.asarray(numbers), 2) for numbers in (curves[name], rates[name])]
    print(f"{name:20s} return by adaptation {said[0]}  rates {said[1]}")

# %% [markdown]
# ## Another way to improve φ
#
# Nothing above depends on the derivative. Evolution strategies need only returns,
#
# $$\nabla_\phi L \approx \frac{1}{2 n \sigma} \sum_{i=1}^{n} \big[u(\phi + \sigma\epsilon_i) -
# u(\phi - \sigma\epsilon_i)\big]\,\epsilon_i,$$
#
# and take the place of `backprop` in one line. They are noisier, but the inner loop may be anything.


# %%
def by_evolution(learner):
    window = window_of(learner)
    fitness = final(negative_return(window.world, gamma=0.99))
    return Recipe(window, evolution(window, fitness, optax.adam(2e-2), pairs=8, sigma=0.1))


curves["by evolution"] = curve(window_of(learned).world, trained(by_evolution(learned), meta_steps=60))

# %% [markdown]
# ## An update of your own
#
# An `Update` is `init` (its memory) and `improve`, which gets φ and the lives of the meta-step and returns a better φ.
# Reptile ([Nichol et al. 2018](https://arxiv.org/abs/1803.02999)) moves φ towards the parameters that agents end with,
#
# $$\theta_0 \leftarrow \theta_0 + \beta\; \mathbb{E}_{\text{task}}[\theta_K - \theta_0].$$
#
# `begin` is a newborn life that has acted once, and `run` the one loop of the library.


# %%
def towards_the_adapted(window, rate=0.3):
    def improve(phi, memory, lives, now):
        def one(life):
            life = begin(window.world, phi, life.task, life.key)
            return run(window.world, phi, life, window.turns)[0].agent.params

        ends = jax.vmap(one)(lives.start)
        moved = jax.tree.map(lambda p, end: p + rate * (end.mean(0) - p), phi["params"], ends)
        return phi | {"params": moved}, memory, {}, lives

    return Update(lambda phi: (), improve)


window = window_of(fixed)
curves["Reptile, by hand"] = curve(window.world, trained(Recipe(window, towards_the_adapted(window))))

# %% [markdown]
# ## What came of it

# %%
figure, panel = plt.subplots(figsize=(8, 4), layout="constrained")
for name, returns in curves.items():
    panel.plot(range(TURNS + 1), returns, marker="o", label=name)
panel.set(xlabel="adaptations in the task", ylabel="return, mean of 200 held-out goals", xticks=range(TURNS + 1))
figure.legend(loc="outside right center", fontsize="small", frameon=False)
figure

# %% [markdown]
# All four adapt, and the random network does not. The learned step sizes fall from one adaptation to the next, as was
# to be expected, but they gain nothing over fixed ones here; evolution and Reptile come closer to the goals. That is
# one seed of a small budget, and evolution lives sixteen lives in each task: an example of how to compare, and no
# verdict. The next notebook is about verdicts.
#
# ## Make it a command
#
# Put the functions into a file `mine.py`, as a function of the environment whose keywords are the options,
#
# ```python
# def schedule(environment, *, turns: int = 3, meta_lr: float = 3e-3) -> Recipe:
#     """MAML with a learned step size for each adaptation."""
# ```
#
# and every command knows it, with flags, run folders, checkpoints, sweeps and reports: `metarl train mine:schedule
# navigation --turns 2`. [Algorithms](../docs/algorithms.md) has RL² in ten lines and a learned reward in twenty-five;
# the laws in `tests/laws` hold any of them to the same properties as the package's own.
#
# Next: [compare two methods honestly](04_compare.ipynb).
