"""Acting in the environment, and recomputing the same outputs from a record."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Environment
from metarl_jax.core.guard import blinded, cut, left_out, marked
from metarl_jax.core.policy import Policy
from metarl_jax.core.types import Array, Experience, Key, Output, Step, Timestep, Tree


class Scene(NamedTuple):
    """The state of the parallel environments of one task."""

    timestep: Timestep  # [E, ...]
    state: Tree  # [E, ...]
    memory: Tree  # [E, ...]
    episodes: Array  # [E] int32 ended so far
    earned: Array  # [E] return of the current episode so far


def opening(environment: Environment, policy: Policy, task: Tree, key: Key, envs: int) -> Scene:
    """The first scene of a task: E fresh episodes, blank memory, no last action or reward."""
    observation, state = jax.vmap(environment.reset, (0, None))(jax.random.split(key, envs), task)
    space = environment.action_space
    timestep = Timestep(
        observation=observation,
        previous_action=jnp.zeros((envs, *space.shape), space.dtype),
        previous_reward=jnp.zeros(envs),
        first=jnp.ones(envs, bool),
    )
    return Scene(timestep, state, policy.initial_memory((envs,)), jnp.zeros(envs, jnp.int32), jnp.zeros(envs))


def rollout(
    environment: Environment,
    policy: Policy,
    params: Tree,
    task: Tree,
    scene: Scene,
    key: Key,
    steps: int,
    quota: int | None = None,
    greedy: Array | bool = False,
    hold: bool = False,
    states: bool = False,
) -> tuple[Scene, Experience]:
    """Act for T steps in E environments with frozen parameters.

    Episodes follow one another in the same task. After `quota` of them, counted from the opening, the steps of an
    environment have weight 0; with `hold` the scene does not change from then on. With `states` the record holds the
    states of the environment. Nothing here is differentiated: callers recompute with `replay` what they differentiate.

    Where the environment returns NaN or inf, the record has a reward that is not finite either. Where it `masks` such
    steps, it ends the episode there instead, which then weighs nothing.
    """
    params = jax.lax.stop_gradient(params)
    task = jax.lax.stop_gradient(task)
    envs, restarts = scene.timestep.first.shape[0], quota != 1
    # XLA copies the carry of a scan at every step if it has an axis of size 1, and a memory can be large.
    squeeze, expand = (_without_axis, _with_axis) if envs == 1 else (_as_it_is, _as_it_is)

    def act(scene: Scene, key: Key) -> tuple[Scene, tuple[Experience, Tree, Array | None]]:
        broken = None
        if environment.masks:
            timestep, broken = blinded(scene.timestep)
            scene = scene._replace(timestep=timestep)
        keys = jax.random.split(key, 1 + (1 + restarts) * envs)
        act_key, step_keys, reset_keys = keys[0], keys[1 : 1 + envs], keys[1 + envs :]
        memory, output = policy.apply(params, scene.memory, squeeze(scene.timestep))
        output = expand(output)
        action = _choose(policy, act_key, output, greedy)
        step = jax.vmap(environment.step, (0, 0, 0, None))(step_keys, scene.state, action, task)
        if broken is not None:
            step, broken = cut(step, scene.timestep, broken)
        done = step.terminated | step.truncated
        episodes = scene.episodes + done.astype(jnp.int32)
        counts = jnp.ones(envs, bool) if quota is None else scene.episodes < quota
        final = jnp.zeros(envs, bool) if quota is None else counts & (episodes >= quota)
        record = _record(policy, scene.timestep, output, action, step, counts, final)
        record = record._replace(state=scene.state, next_state=step.state) if states else record
        successor = Timestep(step.observation, action, step.reward, jnp.zeros(envs, bool))
        earned = jnp.where(done, 0.0, scene.earned + step.reward)
        after = Scene(successor, step.state, memory, episodes, earned)
        if restarts:
            after = _restart(environment, reset_keys, task, done, step, after)
        if hold:
            memory = select(squeeze(counts), after.memory, scene.memory)
            after = select(counts, after._replace(memory=()), scene._replace(memory=()))._replace(memory=memory)
        return after, (record, expand(policy.trail(memory)), broken)

    start = scene._replace(memory=squeeze(scene.memory))
    after, (experience, trail, broken) = jax.lax.scan(act, start, jax.random.split(key, steps))
    after = after._replace(memory=expand(after.memory))
    experience = experience._replace(memory=scene.memory, earned=scene.earned)
    experience = marked(experience) if broken is None else left_out(experience, broken)
    if policy.critic:
        here = after if broken is None else after._replace(timestep=blinded(after.timestep)[0])
        experience = valued(policy, params, here, experience, trail)
    return after, jax.lax.stop_gradient(experience)


def _record(
    policy: Policy, timestep: Timestep, output: Output, action: Array, step: Step, counts: Array, final: Array
) -> Experience:
    """One step of the record, without what is known only when all steps have been made."""
    return Experience(
        timestep=timestep,
        action=action,
        log_prob=policy.distribution.log_prob(output.distribution, action),
        value=output.value,
        next_value=output.value,
        reward=step.reward,
        terminated=step.terminated,
        truncated=step.truncated,
        final=final,
        weight=counts.astype(step.reward.dtype),
        next_observation=step.observation,
        memory=(),
        distribution=output.distribution,
        expected_reward=step.info.get("expected_reward", ()),
    )


def valued(policy: Policy, params: Tree, after: Scene, experience: Experience, trail: Tree) -> Experience:
    """The record with the values of what followed each step, and of what follows the last."""
    experience = experience._replace(onward=policy.apply(params, after.memory, after.timestep)[1].value)
    if policy.has_memory:
        return experience._replace(next_value=_look_ahead(policy, params, experience, trail))
    return revalue(policy, params, experience)


def _without_axis(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[0], tree)


def _with_axis(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[None], tree)


def _as_it_is(tree: Any) -> Any:
    return tree


def replay(policy: Policy, params: Tree, experience: Experience) -> Output:
    """The outputs [T, E] along a recorded rollout, as a differentiable function of the parameters."""
    return policy.unroll(params, experience.memory, experience.timestep)


def revalue(policy: Policy, params: Tree, experience: Experience) -> Experience:
    """The experience with the values, predictions and distributions under `params`: what credit is computed from.

    For a policy with memory the recorded values stay, since recomputing them would cost a second replay.
    """
    if policy.has_memory:
        return experience
    now = replay(policy, params, experience)
    experience = experience._replace(distribution=now.distribution)
    if not (policy.critic or policy.predicts):
        return experience
    after = experience.timestep._replace(observation=experience.next_observation)
    following = replay(policy, params, experience._replace(timestep=after))
    return experience._replace(
        value=now.value,
        next_value=following.value,
        prediction=now.prediction,
        next_prediction=following.prediction,
    )


def _look_ahead(policy: Policy, params: Tree, experience: Experience, trail: Tree) -> Array:
    """The values [T, E] of the true next observations, given the trail [T, E, ...] of the memory.

    Inside an episode it is the value of the next step. The policy is evaluated again only at truncations and at the end
    of the record: one step of every environment at a time, until none is left.
    """
    steps, envs = experience.value.shape
    successor = Timestep(
        experience.next_observation, experience.action, experience.reward, jnp.zeros((steps, envs), bool)
    )

    def ask(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        values, pending = carry
        time = jnp.argmax(pending, axis=0)  # [E] the first pending step of each environment
        memory = policy.at(experience.memory, trail, time)
        timestep = jax.tree.map(lambda x: x[time, jnp.arange(envs)], successor)
        answer = policy.apply(params, memory, timestep)[1].value
        now = jnp.arange(steps)[:, None] == time[None]
        return jnp.where(now & pending, answer, values), pending & ~now

    pending = experience.truncated.at[-1].set(True)
    start = jnp.roll(experience.value, -1, axis=0)
    return jax.lax.while_loop(lambda carry: jnp.any(carry[1]), ask, (start, pending))[0]


def _choose(policy: Policy, key: Key, output: Output, greedy: Array | bool) -> Array:
    sampled = policy.distribution.sample(key, output.distribution)
    if greedy is False:
        return sampled
    return jnp.where(greedy, policy.distribution.mode(output.distribution), sampled)


def _restart(environment: Environment, keys: Key, task: Tree, done: Array, step: Step, after: Scene) -> Scene:
    """Begin a new episode of the same task wherever one has ended. The policy decides at `first` what to forget."""
    observation, state = jax.vmap(environment.reset, (0, None))(keys, task)
    timestep = after.timestep._replace(observation=select(done, observation, step.observation), first=done)
    return after._replace(timestep=timestep, state=select(done, state, step.state))


def select(mask: Array, chosen: Any, other: Any) -> Any:
    """Select between two trees, leaf by leaf, by a mask over their leading axes."""

    def pick(one: Array, other: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (other.ndim - mask.ndim)), one, other)

    return jax.tree.map(pick, chosen, other)
