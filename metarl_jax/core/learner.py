"""Learners: the birth of an agent, its adaptation, and how an adaptation is differentiated."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.losses import Loss
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import revalue
from metarl_jax.core.types import Agent, Array, Credit, Experience, Key, Tree


class Learner(NamedTuple):
    """The update rule f_φ, as three pure functions."""

    meta_init: Callable[[Key], Tree]  # key -> φ
    birth: Callable[[Tree, Key], Agent]  # φ, key -> the newborn agent
    adapt: Callable[[Tree, Agent, Experience, Key], Agent]  # φ, agent, its experience -> the adapted agent
    shared: bool = False  # every agent acts with φ itself, in all tasks, for its whole life


def frozen(meta_init: Callable[[Key], Tree]) -> Learner:
    """The learner that never adapts: its agents act with φ itself and learn in their memory."""
    return Learner(
        meta_init, lambda meta_params, key: Agent(meta_params), lambda meta_params, agent, seen, key: agent, shared=True
    )


def still(learner: Learner) -> Learner:
    """The same learner without adaptation."""
    return learner._replace(adapt=lambda meta_params, agent, seen, key: agent)


class Estimator(NamedTuple):
    """How a lifetime is differentiated; docs/estimators.md says which to choose.

    It does not change how a life is lived. The learners and the exact oracle, oracles/meta_gradient.py, share it.
    """

    curvature: Array | float | None = 0.0  # of the inner surrogate, see core/losses.py
    baseline: bool = True  # whether a baseline is subtracted from the returns that weight the inner surrogate
    depth: int | None = None  # how many of the last adaptations are differentiated; None for all
    hindsight: bool = False  # whether actions before an adaptation are credited with the gain from it
    remat: bool = False  # recompute each turn in the backward pass: memory grows with T, not with K T


ESTIMATORS = {
    "lvc": Estimator(),  # Rothfuss et al. 2019, arXiv:1810.06784
    "naive": Estimator(curvature=None),  # log π, as in MAML's first implementations
    "e_maml": Estimator(curvature=None, hindsight=True),  # Stadie et al. 2018, arXiv:1803.01118
    "dice": Estimator(curvature=1.0, baseline=False),  # Foerster et al. 2018, arXiv:1802.05098
    "control_variates": Estimator(curvature=1.0),  # Mao et al. 2019; Liu et al. 2019
    "loaded_dice": Estimator(curvature=0.9),  # Farquhar et al. 2019, arXiv:1909.10549
    "truncated": Estimator(depth=1),
    "first_order": Estimator(depth=0),  # Finn et al. 2017, arXiv:1703.03400, §5.2
}


InnerOptimiser = Literal["sgd", "rmsprop", "adam"]
InnerLoss = Callable[[Tree, Tree, Any], Array]  # θ, all other differentiable inputs, data


def inner_gradient(loss: InnerLoss) -> InnerLoss:
    """The function (θ, φ, data) -> ∇θ loss with a custom derivative: forward over reverse.

    For a cotangent v one Jacobian-vector product of the joint gradient along θ gives both products at once,

        ∂/∂ε ∇_{θ,φ} loss(θ + ε v, φ) |_{ε=0} = (∇²_θθ loss · v,  ∇_φ (∇_θ loss · v)),

    by the symmetry of second derivatives. It equals reverse over reverse, and is faster with less memory. Data has no
    derivative.

    Semi-gradients: pass the target's parameters inside φ. They are constants of the inner gradient, as they must be,
    but the outer gradient reaches them.
    """
    joint = jax.grad(loss, argnums=(0, 1))

    @jax.custom_vjp
    def gradient(params: Tree, meta_params: Tree, data: Any) -> Tree:
        return jax.grad(loss)(params, meta_params, data)

    def forward(params: Tree, meta_params: Tree, data: Any) -> tuple[Tree, Any]:
        (value, _), along = jax.linearize(lambda params: joint(params, meta_params, data), params)
        return value, along

    def backward(along: Any, cotangent: Tree) -> tuple[Tree, Tree, None]:
        return (*along(cotangent), None)

    gradient.defvjp(forward, backward)
    return gradient


class History(NamedTuple):
    """What an agent remembers of its life beside its parameters, and what its loss reads of that."""

    blank: Callable[[], Tree]  # the memory of a newborn agent
    read: Callable[[Tree, Tree, Experience], tuple[Tree, Tree]]  # φ, memory, seen -> the read part, memory after it


class Learned(NamedTuple):
    """The state of an agent that follows a gradient."""

    optimiser: Tree
    memory: Tree = ()  # of a `History`


def gradient_learner(
    policy: Policy,
    meta_init: Callable[[Key], Tree],
    birth: Callable[[Tree, Key], Tree],
    loss: Callable[[Tree], Loss],
    optimiser: optax.GradientTransformation,
    *,
    reads: Callable[[Tree], Tree] = lambda meta_params: (),
    history: History | None = None,
    scale: Callable[[Tree, Tree], Tree] = lambda meta_params, updates: updates,
    adapts: Callable[[str], bool] = lambda path: True,
    sweeps: int = 1,
) -> Learner:
    """The learner that follows the gradient of a policy loss, θ ← θ + u(∇θ L_φ(θ)).

    Args:
        policy: the policy with parameters θ.
        meta_init: key -> φ.
        birth: φ, key -> the parameters of a newborn agent.
        loss: the loss L_φ, given the part of φ, or of the history, that it reads.
        optimiser: the rule u, twice differentiable: see `inner_optimiser`. One that φ parameterises takes φ as the
            argument `meta_params` of its update.
        reads: φ -> the part of φ that the loss reads.
        history: what the loss reads in place of that, where it depends on the life so far.
        scale: φ, updates -> updates, where φ holds step sizes.
        adapts: whether the parameters at a path adapt; all by default.
        sweeps: gradient steps of an adaptation, all on one rollout and one credit.
    """

    def inner_loss(fast: Tree, others: tuple[Tree, Tree, Credit], seen: Experience) -> Array:
        slow, read, credit = others
        return loss(read).surrogate(merge(fast, slow), seen, credit)

    gradient = inner_gradient(inner_loss)
    history = history or History(lambda: (), lambda meta_params, memory, seen: (reads(meta_params), memory))
    optimiser = optax.with_extra_args_support(optimiser)

    def newborn(meta_params: Tree, key: Key) -> Agent:
        params = birth(meta_params, key)
        return Agent(params, Learned(optimiser.init(partition(params, adapts)[0]), history.blank()))

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        fast, slow = partition(agent.params, adapts)
        read, memory = history.read(meta_params, agent.state.memory, seen)
        # A semi-gradient: the critic's targets are constants of the inner gradient, but the meta-gradient reaches them.
        credit = loss(read).credited(revalue(policy, agent.params, seen))

        def sweep(carry: tuple[Tree, Tree], _: None) -> tuple[tuple[Tree, Tree], None]:
            fast, state = carry
            direction = gradient(fast, (slow, read, credit), seen)
            updates, state = optimiser.update(direction, state, fast, meta_params=meta_params)
            return (optax.apply_updates(fast, scale(meta_params, updates)), state), None

        carry = (fast, agent.state.optimiser)
        fast, state = sweep(carry, None)[0] if sweeps == 1 else jax.lax.scan(sweep, carry, None, length=sweeps)[0]
        return Agent(merge(fast, slow), Learned(state, memory))

    return Learner(meta_init, newborn, adapt)


def repeated(learner: Learner, times: int) -> Learner:
    """The learner that adapts `times` times to what it has seen, with new targets each time."""
    if times == 1:
        return learner

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        def sweep(agent: Agent, key: Key) -> tuple[Agent, None]:
            return learner.adapt(meta_params, agent, seen, key), None

        return jax.lax.scan(sweep, agent, jax.random.split(key, times))[0]

    return learner._replace(adapt=adapt)


def inner_optimiser(name: InnerOptimiser, lr: Array | float) -> optax.GradientTransformation:
    """The optimisers for inner loops, which are twice differentiable even at a zero gradient.

    RMSProp and Adam take the square root of a running mean of squares, whose derivative at zero is infinite; an epsilon
    inside the root moves it away from zero.
    """
    if name == "sgd":
        return optax.sgd(lr)
    if name == "rmsprop":
        return optax.rmsprop(lr, eps=1e-8, eps_in_sqrt=True)
    return optax.adam(lr, eps=1e-5, eps_root=1e-8)


def partition(tree: Tree, chosen: Callable[[str], bool]) -> tuple[Tree, Tree]:
    """Split a tree of parameters in two by the path of each leaf; None marks a leaf of the other half."""
    mask = jax.tree_util.tree_map_with_path(lambda path, leaf: chosen(jax.tree_util.keystr(path)), tree)
    return (
        jax.tree.map(lambda here, leaf: leaf if here else None, mask, tree),
        jax.tree.map(lambda here, leaf: None if here else leaf, mask, tree),
    )


def merge(one: Tree, other: Tree) -> Tree:
    """Undo `partition`."""
    return jax.tree.map(lambda a, b: b if a is None else a, one, other, is_leaf=lambda leaf: leaf is None)


def logit(share: Array | float) -> Array:
    """The inverse of the sigmoid; numbers in (0, 1) are meta-learned as logits."""
    share = jnp.asarray(share, float)
    return jnp.log(share) - jnp.log1p(-share)
