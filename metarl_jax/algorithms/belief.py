"""Beliefs about the task: a latent m, a memory that infers it, decoders of a trial given m, and their ELBO.

    q_t(m) = N(μ_t, σ_t²),  (μ_t, σ_t) = f(everything perceived up to t)
    ELBO_t = E_{m ~ q_t} [ Σ_i log p(r_i | m, s_i, a_i, s_{i+1}) + log p(s_{i+1} | m, s_i, a_i) ] − β KL(q_t ‖ q_{t−1})

where i runs over the whole trial, past and future, and q_{−1} = N(0, 1) (Zintgraf et al. 2020, VariBAD,
arXiv:1910.08348, eq. 4-9).
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.batching import Devices
from metarl_jax.core.environment import Discrete, Environment
from metarl_jax.core.keys import key_of
from metarl_jax.core.life import World, begin
from metarl_jax.core.losses import weighted_mean
from metarl_jax.core.memory import Memory
from metarl_jax.core.networks import dense, mlp
from metarl_jax.core.policy import perception
from metarl_jax.core.types import Array, Experience, Key, Timestep, Tree
from metarl_jax.core.update import Lives, Now, Update, recorded, stepped
from metarl_jax.core.window import Info, averaged

RewardModel = Literal["gaussian", "bernoulli"]


def inferred(memory: Memory, latent: int) -> Memory:
    """The memory with the posterior [μ, log σ²] as its readout, [..., 2 L]."""
    heads = dense(memory.width, 2 * latent)

    def init(key: Key) -> Tree:
        memory_key, heads_key = jax.random.split(key)
        return {"memory": memory.init(memory_key), "posterior": heads.init(heads_key)}

    def step(params: Tree, state: Tree, inputs: Array, keep: Array) -> tuple[Tree, Array]:
        state, readout = memory.step(params["memory"], state, inputs, keep)
        return state, heads.apply(params["posterior"], readout)

    def unroll(params: Tree, state: Tree, inputs: Array, keep: Array) -> Array:
        return heads.apply(params["posterior"], memory.unroll(params["memory"], state, inputs, keep))

    return memory._replace(init=init, step=step, unroll=unroll, width=2 * latent, sufficient=True)


def detached(memory: Memory) -> Memory:
    """The same memory with constant parameters, so that a loss of its readout does not train it."""

    def step(params: Tree, state: Tree, inputs: Array, keep: Array) -> tuple[Tree, Array]:
        return memory.step(jax.lax.stop_gradient(params), state, inputs, keep)

    def unroll(params: Tree, state: Tree, inputs: Array, keep: Array) -> Array:
        return memory.unroll(jax.lax.stop_gradient(params), state, inputs, keep)

    return memory._replace(step=step, unroll=unroll)


class Trials(NamedTuple):
    """The part of a record of trials that the ELBO reads."""

    timestep: Timestep  # [T, E, ...]
    action: Array  # [T, E, ...]
    reward: Array  # [T, E]
    next_observation: Array  # [T, E, O]
    weight: Array  # [T, E]


class Inference(NamedTuple):
    """A model of the task: its decoders and the negative ELBO of trials."""

    init: Callable[[Key], Tree]
    loss: Callable[..., tuple[Array, Info]]  # memory's and decoders' parameters, trials [T, E], key, keys [E], devices


def inference(
    environment: Environment,
    belief: Memory,
    hidden: Sequence[int],
    *,
    rewards: RewardModel = "gaussian",
    arrival: bool = False,
    states: bool = False,
    divergence: Array | float = 0.1,
    beliefs: int = 0,
) -> Inference:
    """The negative ELBO, a mean over the steps t of a trial, and the decoders that it trains with the memory.

    The loss takes one key for all trials and one key for each trial. Where `devices` share the trials, it returns the
    part of this device.

    Args:
        environment: the environment of the trials.
        belief: the memory that infers the latent.
        hidden: widths of the decoders' layers.
        rewards: the likelihood of a reward: normal with variance 1, or Bernoulli for whether it is positive.
        arrival: rewards depend only on the next observation, not on the observation before it or on the action.
        states: decode the next observation too, not only the reward.
        divergence: β.
        beliefs: most steps t of a trial whose ELBO is computed, drawn at random; 0 for all.
    """
    perceive, latent = perception(environment), belief.width // 2
    space, observed = environment.action_space, environment.observation_space.shape[0]
    acted = perceive.size - observed - 2
    pays = mlp(latent + observed + (0 if arrival else observed + acted), hidden, 1, activation=jax.nn.relu)
    follows = mlp(latent + observed + acted, hidden, observed, activation=jax.nn.relu)

    def init(key: Key) -> Tree:
        reward_key, state_key = jax.random.split(key)
        params = {"reward": pays.init(reward_key)}
        return params | {"state": follows.init(state_key)} if states else params

    def error(params: Tree, latents: Array, trials: Trials) -> Array:
        """−log p of each step [T, E] given the latents [R, E, L], up to a constant: [R, T, E]."""
        action = jax.nn.one_hot(trials.action, acted) if isinstance(space, Discrete) else trials.action
        before = _joined(latents, jnp.concatenate([trials.timestep.observation, action], axis=-1))
        after = jnp.broadcast_to(trials.next_observation, (*before.shape[:-1], observed))
        given = before[..., :latent] if arrival else before
        paid = pays.apply(params["reward"], jnp.concatenate([given, after], axis=-1))[..., 0]
        if rewards == "bernoulli":
            total = optax.sigmoid_binary_cross_entropy(paid, (trials.reward > 0).astype(paid.dtype))
        else:
            total = 0.5 * (paid - trials.reward[None]) ** 2
        if states:
            total += 0.5 * jnp.sum((follows.apply(params["state"], before) - after) ** 2, axis=-1)
        return total

    def loss(
        memory: Tree,
        decoders: Tree,
        trials: Trials,
        key: Key,
        keys: Key,
        devices: Devices = Devices(),  # noqa: B008
    ) -> tuple[Array, Info]:
        features, keep = perceive.features(trials.timestep), perceive.keep(trials.timestep)
        steps, envs = trials.reward.shape
        posterior = belief.unroll(memory, belief.blank((envs,)), features, keep)
        moved = weighted_mean(_divergences(posterior), trials.weight, devices.mean)
        some = 0 < beliefs < steps
        times = jax.random.choice(key, steps, (beliefs,), replace=False) if some else jnp.arange(steps)
        mean, log_variance = jnp.split(posterior[times], 2, axis=-1)  # [R, E, L]
        noise = jax.vmap(lambda key: jax.random.normal(key, (len(times), latent)), out_axes=1)(keys)
        latents = mean + jnp.exp(0.5 * log_variance) * noise
        unexplained = jnp.sum(error(decoders, latents, trials) * trials.weight[None], axis=1)  # [R, E]
        unexplained = weighted_mean(unexplained, trials.weight[times], devices.mean)
        return unexplained + divergence * moved, {"unexplained": unexplained, "divergence": moved}

    return Inference(init, loss)


def _joined(latents: Array, seen: Array) -> Array:
    """Each latent [R, E, L] concatenated with each step [T, E, S]: [R, T, E, L + S]."""
    shape = (latents.shape[0], seen.shape[0], latents.shape[1])
    left = jnp.broadcast_to(latents[:, None], (*shape, latents.shape[-1]))
    return jnp.concatenate([left, jnp.broadcast_to(seen, (*shape, seen.shape[-1]))], axis=-1)


def _divergences(posterior: Array) -> Array:
    """KL(q_t ‖ q_{t−1}), [T, E], with q_{−1} = N(0, 1)."""
    before = jnp.concatenate([jnp.zeros_like(posterior[:1]), posterior[:-1]])
    (mean, log_variance), (old_mean, old_log_variance) = (jnp.split(x, 2, axis=-1) for x in (posterior, before))
    ratio = jnp.exp(log_variance - old_log_variance)
    distance = (mean - old_mean) ** 2 * jnp.exp(-old_log_variance)
    return 0.5 * jnp.sum(ratio + distance - 1.0 - log_variance + old_log_variance, axis=-1)


class Kept(NamedTuple):
    """The state of the update that trains the model."""

    optimiser: Tree
    trials: Trials  # [B, T, ...] the latest trials in a ring buffer
    total: Array  # [] trials seen so far


def explain(
    model: Inference,
    optimiser: optax.GradientTransformation,
    world: World,
    *,
    kept: int,
    trials: int,
    updates: int,
) -> Update:
    """Train the model: `updates` steps on the ELBO of `trials` trials drawn from the `kept` latest."""

    def init(meta_params: Tree) -> Kept:
        def live(key: Key) -> Trials:
            seen = begin(world, meta_params, world.environment.draw_task(key, "train"), key).seen
            return _each(jax.tree.map(lambda x: x[None], seen))

        shapes = jax.eval_shape(live, key_of(0))
        blank = jax.tree.map(lambda x: jnp.zeros((kept, *x.shape[1:]), x.dtype), shapes)
        return Kept(optimiser.init(_explained_by(meta_params)), blank, jnp.int32(0))

    def improve(meta_params: Tree, own: Kept, lives: Lives, now: Now) -> tuple[Tree, Kept, Info, Lives]:
        ring, total = _with_latest(own, jax.vmap(_each)(recorded(lives).seen), now.devices)

        def update(carry: tuple[Tree, Tree], key: Key) -> tuple[tuple[Tree, Tree], Info]:
            params, memory = carry
            draw_key, time_key, noise_key = jax.random.split(key, 3)
            rows = jax.random.randint(draw_key, (trials,), 0, jnp.minimum(total, kept), jnp.int32)
            drawn = jax.tree.map(lambda x: x[rows], ring)
            batch, keys = now.devices.share((drawn, jax.random.split(noise_key, trials)))
            batch = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch)  # [T, E, ...]

            def loss(params: Tree) -> tuple[Array, Info]:
                return model.loss(params["memory"], params["decoders"], batch, time_key, keys, now.devices)

            gradient, info = now.devices.mean(jax.grad(loss, has_aux=True)(params))
            return stepped(optimiser, gradient, params, memory), info

        start = (_explained_by(meta_params), own.optimiser)
        (params, memory), info = jax.lax.scan(update, start, jax.random.split(now.key, updates))
        return meta_params | params, Kept(memory, ring, total), averaged(info), lives

    return Update(init, improve, windows=0)


def _with_latest(own: Kept, fresh: Trials, devices: Devices) -> tuple[Trials, Array]:
    """The ring with the trials [N, E, T, ...] of all devices in place of the oldest, and the number seen so far."""
    fresh = devices.gathered(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), fresh))
    count, kept = fresh.reward.shape[0], own.trials.reward.shape[0]
    places = (own.total + jnp.arange(count, dtype=jnp.int32)) % kept
    return jax.tree.map(lambda old, new: old.at[places].set(new), own.trials, fresh), own.total + count


def _each(past: Experience) -> Trials:
    """The trials of a life of one rollout [1, T, E, ...], one by one [E, T, ...]."""
    trials = Trials(past.timestep, past.action, past.reward, past.next_observation, past.weight)
    return jax.tree.map(lambda x: jnp.swapaxes(x[0], 0, 1), trials)


def _explained_by(meta_params: Tree) -> Tree:
    """The part of φ that the ELBO trains."""
    return {name: meta_params[name] for name in ("memory", "decoders")}
