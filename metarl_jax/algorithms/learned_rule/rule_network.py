"""The network of a learned update rule: a backward LSTM over the record (Oh et al. 2020, arXiv:2007.08794, §3.1)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl_jax.core.memories import make as make_memory
from metarl_jax.core.networks import Network, dense, mlp
from metarl_jax.core.policy import Policy
from metarl_jax.core.returns import boundaries
from metarl_jax.core.types import Array, Experience, Key, Tree

Taught = tuple[Array, Array]  # π̂ [T, E], and the logits of ŷ [T, E, M]
EMBEDDED = 16  # width of the layer through which the rule reads a prediction
INPUTS = 6  # numbers that the rule reads of a step


def rule_network(policy: Policy, width: int, predictions: int, gamma: Array | float) -> Network:
    """U_φ of a revalued record: the backward LSTM, an embedding of predictions, a linear head for each of π̂ and ŷ."""
    memory = make_memory("lstm", INPUTS, width)
    embedding = mlp(predictions, (EMBEDDED,), 1, activation=jax.nn.relu)
    heads = {"policy": dense(width, 1), "target": dense(width, predictions)}

    def init(key: Key) -> Tree:
        memory_key, embedding_key, *keys = jax.random.split(key, 2 + len(heads))
        each = {name: head.init(own) for (name, head), own in zip(heads.items(), keys, strict=True)}
        return {"memory": memory.init(memory_key), "embedding": embedding.init(embedding_key), **each}

    def apply(params: Tree, seen: Experience) -> Taught:
        inputs = _inputs(lambda y: embedding.apply(params["embedding"], y)[..., 0], policy, gamma, seen)
        keep = boundaries(seen).trace[..., None]
        blank = memory.newborn(seen.reward.shape[1:])
        read = memory.unroll(params["memory"], blank, inputs[::-1], keep[::-1])[::-1]
        return heads["policy"].apply(params["policy"], read)[..., 0], heads["target"].apply(params["target"], read)

    return Network(init, apply)


def _inputs(embed: Callable[[Array], Array], policy: Policy, gamma: Array | float, seen: Experience) -> Array:
    """What the rule reads of each step, [T, E, 6]: r, d, γ, π(a|s), e(y(s)), e(y(s'))."""
    chosen = jnp.exp(policy.distribution.log_prob(seen.distribution, seen.action))
    now, following = (embed(jax.nn.softmax(logits)) for logits in (seen.prediction, seen.next_prediction))
    discount = jnp.broadcast_to(jnp.asarray(gamma, chosen.dtype), chosen.shape)
    ended = seen.terminated.astype(chosen.dtype)
    return jnp.stack([seen.reward, ended, discount, chosen, now, following], axis=-1)
