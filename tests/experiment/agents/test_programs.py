"""Lives outside are the lives of core/life.py: the same actions, the same agents, from the same key."""

from typing import Any

import jax
import numpy as np
import pytest

from metarl_jax.core.life import Life, World, begin, draws, run, unborn
from metarl_jax.core.rollout import opening, select
from metarl_jax.experiment.agents.acting import ActingAgent, spec_of
from metarl_jax.experiment.agents.programs import named
from metarl_jax.experiment.api import Result
from metarl_jax.experiment.config import resolve

SEED, TURNS = 5, 2
CASES = {  # lives in fresh episodes with and without a quota that ends them, in scenes that continue, in memory
    "maml catch": {"envs": 2, "hidden": (4,), "adaptations": TURNS},
    "maml navigation": {"envs": 2, "hidden": (4,), "adaptations": TURNS, "estimator": "dice"},
    "q_learning catch": {"envs": 2, "hidden": (4,), "adaptations": TURNS},
    "q_learning cartpole": {"envs": 1, "hidden": (4,), "adaptations": TURNS, "env": {"steps": 30}},
    "meta_gradient catch": {"envs": 2, "hidden": (4,), "steps": 6, "adaptations": 1},
    "intrinsic_reward catch": {"envs": 2},
    "learned_rule catch": {"envs": 2},
    "learned_optimizer catch": {"envs": 2},
    "drift catch": {"envs": 2},
    "policy_gradient catch": {"envs": 2},
    "rl2 bandit": {"envs": 2},
    "varibad gridnavi": {"envs": 2},
}
QUICK = ("q_learning cartpole", "rl2 bandit")


def lived(world: World, meta_params: Any, task: Any, turns: int) -> tuple[Any, Any]:
    """The agents [K+1] and actions [K+1, T, E] of a life inside."""

    def observe(meta_params: Any, life: Life) -> Any:
        return life.agent, life.seen.action, life.seen.weight

    @jax.jit
    def whole(meta_params: Any) -> Any:
        life = begin(world, meta_params, task, jax.random.key(SEED))
        first = observe(meta_params, life)
        return first, run(world, meta_params, life, turns, observe)[1]

    first, rest = whole(meta_params)
    return jax.tree.map(lambda x, xs: np.concatenate([x[None], xs]), first, rest)


def acted(world: World, task: Any, agent: ActingAgent, turns: int) -> np.ndarray:
    """The actions [K+1, T, E] of an agent outside, in the environments and with the keys of the life inside."""
    environment, restarts = world.environment, world.quota != 1
    step = jax.jit(jax.vmap(environment.step, (0, 0, 0, None)))
    reset = jax.jit(jax.vmap(environment.reset, (0, None)))
    actions, scene = [], None
    for age in range(turns + 1):
        keys = draws(unborn(task, jax.random.key(SEED))._replace(age=np.int32(age)))
        if scene is None or world.fresh:
            scene = opening(environment, world.policy, task, keys.open, world.envs)
            observation, state = scene.timestep.observation, scene.state
        for key in jax.random.split(keys.act, world.steps):
            action = agent.act(np.asarray(observation))
            actions.append(action)
            own = jax.random.split(key, 1 + (1 + restarts) * world.envs)[1:]
            after = step(own[: world.envs], state, action, task)
            over = np.asarray(after.terminated | after.truncated)
            agent.observe(after.reward, after.terminated, after.truncated, np.asarray(after.observation))
            observation, state = after.observation, after.state
            if not restarts:
                if over.all():
                    break  # the rest does not count
                continue
            fresh, begun = reset(own[world.envs :], task)
            observation, state = select(over, (fresh, begun), (observation, state))
    return np.array(actions)


@pytest.mark.parametrize("case", [pytest.param(x, marks=[pytest.mark.slow] * (x not in QUICK)) for x in CASES])
def test_a_life_outside_is_the_life_inside(case: str, tmp_path: Any) -> None:
    algorithm, environment = case.split()
    config = resolve(algorithm, environment, preset="tiny", **CASES[case])
    world = config.world
    meta_params = jax.jit(world.learner.meta_init)(jax.random.key(1))
    task = config.environment.sample_task(jax.random.key(2), "train")
    turns = 0 if world.learner.shared else TURNS
    agents, inside, weight = lived(world, meta_params, task, turns)
    result = Result(tmp_path, config, 0, meta_params, {})
    agent = ActingAgent(result, spec_of(config), seed=SEED, envs=world.envs)
    outside = acted(world, task, agent, turns)
    np.testing.assert_allclose(outside, inside[weight.astype(bool).any(2)], rtol=1e-3, atol=1e-4)
    assert int(agent.life.clock["age"]) == turns
    last = jax.tree.map(lambda x: x[-1], agents)
    for name, leaf in named(last).items():
        np.testing.assert_allclose(agent.life.agent[name], leaf, rtol=2e-3, atol=1e-5, err_msg=name)
