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
# # 5. Meta-gradients beside the exact one
#
# An agent adapts by a step of policy gradient, $\theta' = \theta + \alpha\,\nabla J(\theta)$. The chain rule gives the
# meta-gradient
#
# $$\nabla_\theta J(\theta') = \big(I + \alpha\,H(\theta)\big)\,\nabla J(\theta'), \qquad H = \nabla^2 J.$$
#
# Nobody has $H$; one has trajectories. With $g_t = \nabla\log\pi(a_t|s_t)$ and $C_t$ the return from $t$ on,
#
# $$H = \mathbb{E}\sum_t \gamma^t C_t\Big[\underbrace{\nabla^2\log\pi_t}_{\text{naive}} + \underbrace{g_t
# g_t^\top}_{\text{lvc}} + \underbrace{\sum_{u<t}\big(g_t g_u^\top + g_u
# g_t^\top\big)}_{\text{control variates, dice}}\Big],$$
#
# and an estimator is a choice of how many of these terms its surrogate loss has. Each term removes bias and adds
# variance. On a world small enough to solve, both can be *measured*.

# %% [markdown]
# ## A world whose meta-gradient is known
#
# Eight states, three actions. Values follow from linear algebra, $V = (I - \gamma P_\pi)^{-1} r_\pi$, and everything
# else by differentiating them.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import metarl_jax
from metarl_jax.oracles.meta_gradient import Process, adapted, draw_process, limit, meta_gradient, state_values, value

STATES, ACTIONS, STEPS, GAMMA, RATE = 8, 3, 30, 0.8, 10.0
process = Process(draw_process(jax.random.key(1), STATES, ACTIONS), GAMMA)
theta = 0.5 * jax.random.normal(jax.random.key(2), (STATES, ACTIONS))
exact = meta_gradient(process, theta, RATE)
length = jnp.linalg.norm(exact)
print(f"V(θ) = {value(process, theta):.3f}, length of the meta-gradient {length:.3f}")

# %% [markdown]
# Is it right? Move θ a little in some direction and watch the value after adaptation:

# %%
direction = jax.random.normal(jax.random.key(3), theta.shape)
h = 1e-2
after = [value(process, adapted(process, theta + sign * h * direction, RATE)) for sign in (1, -1)]
difference = (after[0] - after[1]) / (2 * h)
print(f"central difference {difference:.4f}, exact {jnp.vdot(exact, direction):.4f}")

# %% [markdown]
# ## The bias of each estimator
#
# With infinitely many trajectories an estimator converges to the terms that it has. The oracle knows these limits, too.
# (`naive` is no better than `first_order` here: with exact advantages, its term is zero.)

# %%
NAMES = ("first_order", "naive", "lvc", "loaded_dice", "control_variates", "dice")
bias = {
    name: float(jnp.linalg.norm(limit(process, theta, RATE, metarl_jax.ESTIMATORS[name]) - exact) / length)
    for name in NAMES
}
print({name: round(value, 3) for name, value in bias.items()})

# %% [markdown]
# ## Estimates from trajectories
#
# The same world as an environment, with a fixed task, so that a meta-learner of the library estimates the same
# meta-gradient from $N$ trajectories. With plain gradient descent of step size 1 as the outer optimiser, one meta-step
# moves φ by exactly its estimate.


# %%
class Known(metarl_jax.ENVIRONMENTS["tabular"]):
    """The process with its mean rewards, and a clock that cuts episodes."""

    def draw_task(self, key, split):
        return process.task

    withholds = False

    def step(self, key, state, action, task):
        step = super().step(key, state, action, task)
        return step._replace(reward=step.info["expected_reward"])


environment = Known(states=STATES, actions=ACTIONS, steps=STEPS, episodes=1)
policy = metarl_jax.mlp_policy(
    environment, (), critic=True
)  # tables of logits and of values, read by the one-hot state
tables = {
    "actor": {"head": {"kernel": theta, "bias": jnp.zeros(ACTIONS)}},
    "critic": {"head": {"kernel": state_values(process, theta)[:, None], "bias": jnp.zeros(1)}},
}

# %% [markdown]
# Losses of the library are means over steps. Weights $\gamma^t$ and the factor $\sum_t \gamma^t$ turn them into that of
# the discounted return. `curvature` chooses the terms of $H$; all estimators except `dice` subtract the exact values as
# a baseline.

# %%
WEIGHTS = float(sum(GAMMA**t for t in range(STEPS)))


def loss_of(estimator):
    """The policy loss whose Hessian has the terms of the estimator."""
    how = {"gamma": GAMMA, "normalise": False, "curvature": estimator.curvature}
    if estimator.baseline:
        loss = metarl_jax.actor_critic(policy, lambda_=1.0, value_weight=0.0, entropy=0.0, **how)
    else:
        loss = metarl_jax.reinforce(policy, baseline=False, **how)

    def discounted(params, seen, credit):
        time = jnp.arange(STEPS)[:, None]
        return WEIGHTS * loss.surrogate(params, seen._replace(weight=seen.weight * GAMMA**time), credit)

    return loss._replace(surrogate=discounted)


def estimates(name, trajectories, lives):
    """Independent estimates of the meta-gradient, [lives, S, A]."""
    estimator = metarl_jax.ESTIMATORS[name]
    loss = loss_of(estimator)
    learner = metarl_jax.gradient_learner(
        policy,
        meta_init=lambda key: tables,
        birth=lambda phi, key: phi,
        loss=lambda read: loss,
        optimiser=optax.sgd(RATE),
        adapts=lambda path: "actor" in path and "kernel" in path,
    )
    world = metarl_jax.World(environment, policy, learner, trajectories, STEPS, quota=1)
    window = metarl_jax.Window(world, turns=1, estimator=estimator)
    judge = metarl_jax.final(loss_of(metarl_jax.ESTIMATORS["lvc"]))
    meta = metarl_jax.meta_learner(window, metarl_jax.backprop(window, judge, optax.sgd(1.0)), tasks=1)

    def estimate(key):
        state = meta.init(key)
        after = meta.step(state, key)[0].meta_params
        return after["actor"]["head"]["kernel"] - theta

    return jax.jit(lambda keys: jax.lax.map(estimate, keys))(jax.random.split(jax.random.key(7), lives))


# %% [markdown]
# For each estimator: the error of *one* estimate, and of the mean of all of them, in units of the exact length.

# %%
SAMPLED = ("first_order", "lvc", "loaded_dice", "control_variates", "dice")
COUNTS = (16, 128)
LIVES = 128
error, error_of_mean = {}, {}
for name in SAMPLED:
    found = {count: estimates(name, count, LIVES) for count in COUNTS}
    error[name] = [float(jnp.sqrt(jnp.mean(jnp.sum((x - exact) ** 2, (1, 2)))) / length) for x in found.values()]
    error_of_mean[name] = float(jnp.linalg.norm(found[COUNTS[-1]].mean(0) - exact) / length)
    print(f"{name:12s} error {np.round(error[name], 2)}  of the mean {error_of_mean[name]:.2f}  limit {bias[name]:.2f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for name in SAMPLED:
    left.loglog(COUNTS, error[name], marker="o", label=name)
left.set(xlabel="trajectories of an adaptation", ylabel="error / length", title="one estimate: bias and variance")
left.set_xticks(COUNTS, [str(count) for count in COUNTS])
left.set_yticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
left.minorticks_off()
figure.legend(loc="outside lower center", ncols=len(SAMPLED), fontsize="small", frameon=False)
places = np.arange(len(SAMPLED))
right.bar(places - 0.2, [bias[name] for name in SAMPLED], 0.4, label="limit, by theory")
right.bar(places + 0.2, [error_of_mean[name] for name in SAMPLED], 0.4, label=f"mean of {LIVES} estimates")
right.set_xticks(places, SAMPLED, rotation=30)
right.set(title="the mean of many: bias", ylabel="error / length")
right.legend(fontsize="small", frameon=False)
figure

# %% [markdown]
# ## What to take away
#
# - Bias falls from left to right, variance rises. With the tens of trajectories that an adaptation usually has, the
#   middle (`lvc`, the default of `metarl train maml`) is hard to beat.
# - `control_variates` and `dice` have the whole of $H$ and no bias. The latter has no baseline, and is noisier by far.
# - Measured on eight processes, with baselines, trust regions, evolution and long lives:
#   [which meta-gradient](../docs/estimators.md).
#
# Next: [learned rules](06_learned_rules.ipynb), which teach fresh agents.
