"""PPO in rejax (Liesen et al., github.com/keraJLi/rejax) at the shapes of `ppo-cartpole`, many agents at once.

Both sides have gymnax's CartPole-v1, a network of the same widths for the policy and another for the critic, as many
environments, steps, epochs and agents, and no minibatches. Ours has other physics for each agent. rejax 0.1.3 unpacks
five results of gymnax's `step`, which returns six since gymnax 1.0: `jax_peer.older` gives it five.
"""

from typing import Any

import jax
import jax_peer
from speed import WORKLOADS

from metarl_jax.algorithms import PolicyGradient

FORMS = jax_peer.FORMS
WORKLOAD = WORKLOADS["ppo-cartpole"]


def measure(form: str, agents: int, seconds: float) -> dict[str, Any]:
    sharding = jax_peer.prepare(form)
    options = PolicyGradient(tasks=agents, **WORKLOAD.options)
    learner = ppo(options)
    state = jax.jit(jax.vmap(learner.init_state))(jax.random.split(jax.random.key(0), agents))
    if sharding is not None:
        state = jax.device_put(state, sharding)

    def step(state: Any, key: Any) -> tuple[Any, None]:
        return jax.vmap(learner.train_iteration)(state), None

    return jax_peer.timed(step, state, agents * learner.num_envs * learner.num_steps, seconds)


def ppo(options: PolicyGradient) -> Any:
    """rejax's learner with our options."""
    import gymnax  # both start JAX's devices, whose number must be settled before
    from rejax import PPO

    environment, params = gymnax.make(WORKLOAD.environment.removeprefix("gymnax/"))
    return PPO.create(
        env=jax_peer.older(environment),
        env_params=params,
        agent_kwargs={"hidden_layer_sizes": options.hidden, "activation": "tanh"},
        num_envs=options.envs,
        num_steps=options.steps,
        num_epochs=options.epochs,
        num_minibatches=1,
        learning_rate=options.inner_lr,
        gamma=options.gamma,
        gae_lambda=options.lambda_,
        clip_eps=options.clip,
        ent_coef=options.entropy,
    )
