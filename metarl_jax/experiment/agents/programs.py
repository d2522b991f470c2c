"""The functions that a life is made of, over dicts of arrays: for agents that act outside the package."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.keys import IMPLEMENTATION, key_of
from metarl_jax.core.life import World, draws, unborn
from metarl_jax.core.once import once
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import Scene, valued
from metarl_jax.core.types import Array, Experience, Output, Timestep, Tree
from metarl_jax.experiment.agents.deployed import Arrays, Programs
from metarl_jax.experiment.leaves import leaf_name

MEMORY = "memory"


def named(tree: Tree) -> Arrays:
    """The leaves of a tree by their paths."""
    return {leaf_name(keys): leaf for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def like(template: Tree, arrays: Arrays) -> Tree:
    """The tree of a template's structure whose leaves are those arrays; the inverse of `named`."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    return jax.tree.unflatten(structure, [arrays[leaf_name(keys)] for keys, _ in leaves])


class Forms(NamedTuple):
    """The structures of φ, agents and memories in a world."""

    meta_params: Tree
    agent: Tree
    memory: Tree

    def scene(self, arrays: Arrays) -> tuple[Timestep, Tree]:
        """The timestep and the memory of a scene."""
        return Timestep(*(arrays[name] for name in Timestep._fields)), like(self.memory, arrays)[MEMORY]


@once
def forms_of(world: World) -> Forms:
    """Those of a world."""
    key = key_of(0)
    meta_params = jax.eval_shape(world.learner.meta_init, key)
    agent = jax.eval_shape(world.learner.birth, meta_params, key)
    return Forms(meta_params, agent, {MEMORY: jax.eval_shape(lambda: world.policy.initial_memory(()))})


@once
def programs(world: World) -> Programs:
    """The compiled functions of a world; they live exactly the lives of core/life.py."""
    return Programs(*(jax.jit(function) for function in functions(world)))


def functions(world: World) -> Programs:
    """The same functions, not compiled."""
    policy, learner, forms = world.policy, world.learner, forms_of(world)

    def born(meta_params: Arrays, key: Array) -> tuple[Arrays, Arrays]:
        agent = learner.birth(like(forms.meta_params, meta_params), _draws(key, jnp.int32(0)).adapt)
        return named(agent), named({MEMORY: policy.initial_memory(())})

    def act(agent: Arrays, scene: Arrays, key: Array, age: Array, time: Array, greedy: Array) -> Arrays:
        timestep, memory = forms.scene(scene)
        memory, output = policy.apply(like(forms.agent, agent).params, memory, timestep)
        # The key of this step in a rollout: `split(key, n)[i]` is `fold_in(key, i)`.
        chance = jax.random.fold_in(jax.random.fold_in(_draws(key, age).act, time), 0)
        sampled, mode = (policy.distribution.sample(chance, output.distribution), policy.distribution.mode)
        return {"action": jnp.where(greedy, mode(output.distribution), sampled), **named({MEMORY: memory})}

    def adapt(
        meta_params: Arrays, agent: Arrays, record: Arrays, start: Arrays, end: Arrays, key: Array, age: Array
    ) -> Arrays:
        before = like(forms.agent, agent)
        memory = like(forms.memory, start)[MEMORY]
        seen = _remembered(world, before.params, record, memory, forms.scene(end))
        return named(learner.adapt(like(forms.meta_params, meta_params), before, seen, _draws(key, age).adapt))

    return Programs(born, act, adapt)


def _draws(key: Array, age: Array) -> Any:
    """The keys of the turn that leads to an age."""
    return draws(unborn((), jax.random.wrap_key_data(key, impl=IMPLEMENTATION))._replace(age=age))


def _remembered(world: World, params: Tree, record: Arrays, memory: Tree, end: tuple[Timestep, Tree]) -> Experience:
    """The experience [T, E] of a rollout that was recorded outside; all else in it follows from the parameters."""
    policy, timestep = world.policy, Timestep(*(record[name] for name in Timestep._fields))
    output, trail = _outputs(policy, params, memory, timestep)
    done = record["terminated"] | record["truncated"]
    before = jnp.cumsum(done, axis=0) - done  # episodes that ended earlier
    counts, final = jnp.ones_like(done), jnp.zeros_like(done)
    if world.quota is not None and world.fresh:
        counts = before < world.quota
        final = counts & (before + done >= world.quota)
    seen = Experience(
        timestep=timestep,
        action=record["action"],
        log_prob=policy.distribution.log_prob(output.distribution, record["action"]),
        value=output.value,
        next_value=output.value,
        reward=record["reward"],
        terminated=record["terminated"],
        truncated=record["truncated"],
        final=final,
        weight=counts.astype(record["reward"].dtype),
        next_observation=record["next_observation"],
        memory=None if world.fresh else memory,
        earned=jnp.zeros_like(record["reward"][0]),  # which only reports of returns read
        distribution=output.distribution,
    )
    if policy.critic:
        scene = Scene(end[0], (), end[1], before[-1], seen.earned)
        seen = valued(policy, params, scene, seen._replace(memory=memory), trail)._replace(memory=seen.memory)
    return jax.lax.stop_gradient(seen)


def _outputs(policy: Policy, params: Tree, memory: Tree, timesteps: Timestep) -> tuple[Output, Tree]:
    """The outputs of the policy along a record, and the trail of its memory."""
    if not policy.has_memory:
        return policy.unroll(params, memory, timesteps), ()

    def step(memory: Tree, timestep: Timestep) -> tuple[Tree, tuple[Output, Tree]]:
        memory, output = policy.apply(params, memory, timestep)
        return memory, (output, policy.trail(memory))

    return jax.lax.scan(step, memory, timesteps)[1]
