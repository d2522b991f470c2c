"""Improve φ by imitation: a student reads the histories of other lives, and predicts what a teacher does at each step.

The lives of the window are those of a source, which owes nothing to φ. Their rollouts, laid end to end, are what the
student will perceive in a trial; its parameters φ descend the cross-entropy to the teacher's actions (Laskin et al.
2022, arXiv:2210.14215, eq. 2; Lee et al. 2023, arXiv:2306.14892, eq. 1).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.backprop import Passes, relive
from metarl_jax.core.batching import map_tasks
from metarl_jax.core.evaluation import reported
from metarl_jax.core.learner import Learner
from metarl_jax.core.life import Life, World
from metarl_jax.core.losses import Loss, weighted_mean
from metarl_jax.core.objective import final
from metarl_jax.core.policy import Policy
from metarl_jax.core.types import Agent, Array, Credit, Experience, Key, Record, Tree
from metarl_jax.core.update import Lives, Now, Update, chain
from metarl_jax.core.window import Info, Window, averaged, entered, report

Teacher = Callable[[Tree, Experience], Array]  # task, history [L, E, ...] -> probabilities of its actions [L, E, A]


def imitate(
    window: Window,
    student: World,
    teacher: Teacher,
    optimiser: optax.GradientTransformation,
    passes: Passes = Passes(),  # noqa: B008
    stride: int = 1,
) -> Update:
    """Let the source live, and teach the student on the histories, in epochs over minibatches of lives.

    Args:
        window: what the source lives; its learner is `independent`.
        student: the world in which the student acts; its learner is `frozen`.
        teacher: whose actions the student predicts.
        optimiser: of φ.
        passes: epochs over a batch of histories, and minibatches of each.
        stride: turns of the source from one rollout of a history to the next; those between are left out.
    """
    objective = final(cross_entropy(student.policy))
    return chain(
        histories(window, teacher, stride), relive(Window(student, 0), lambda step: objective, optimiser, passes)
    )


def histories(window: Window, teacher: Teacher, stride: int = 1) -> Update:
    """Live, and record every `stride`-th rollout, laid end to end, with the teacher's actions; φ stays.

    Raises:
        ValueError: `stride` does not divide the turns of the window.
    """
    if window.turns % stride:
        raise ValueError(f"turns of the window are {window.turns} and stride {stride}; choose a multiple of the stride")

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        def one(life: Life) -> tuple[Life, Record, Info]:
            life = entered(window, meta_params, life)
            count = window.turns // stride
            end, seen = reported(window.world, meta_params, life, count, lambda life: life.seen, stride)
            return end, lesson(teacher, life.task, seen), report(seen)

        end, past, info = map_tasks(one, window.chunk, lives.start)
        return meta_params, memory, averaged(info), Lives(lives.start, None if window.newborn else end, past)

    return Update(lambda meta_params: (), improve)


def lesson(teacher: Teacher, task: Tree, seen: Experience) -> Record:
    """The history of rollouts [K, T, E, ...] and the teacher's actions as one record [1, K T, E, ...]."""
    history = end_to_end(seen)
    credit = Credit(jnp.zeros_like(history.weight), teacher(task, history))
    nothing: Tree = ()
    read = history._replace(  # what the student does not read is left out
        log_prob=nothing,
        value=nothing,
        next_value=nothing,
        next_observation=nothing,
        distribution=nothing,
        expected_reward=nothing,
    )
    return jax.tree.map(lambda x: x[None], Record(read, credit))


def end_to_end(seen: Experience) -> Experience:
    """Rollouts [K, T, E, ...] laid end to end, [K T, E, ...]: each perceives the last action and reward before it."""
    seen = seen._replace(memory=None, earned=(), onward=())  # of each rollout
    history = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen)

    def after(first: Array, left: Array) -> Array:
        return jnp.concatenate([first[:1], left[:-1]])

    timestep = history.timestep
    return history._replace(
        timestep=timestep._replace(
            previous_action=after(timestep.previous_action, history.action),
            previous_reward=after(timestep.previous_reward, history.reward),
        )
    )


def cross_entropy(student: Policy) -> Loss:
    """The cross-entropy of a student that begins with a blank memory, over finitely many actions.

        L(φ) = −E[ Σ_a p(a) log π_φ(a | history before the action) ]

    p is the target of the credit; without a teacher, the distribution that the recorded actions were drawn from. Its
    expected gradient is that of −log π_φ of these actions, with less noise.
    """

    def credit(history: Experience) -> Credit:
        return Credit(jnp.zeros_like(history.weight), behaviour((), history))

    def surrogate(params: Tree, history: Experience, credit: Credit) -> Array:
        logits = student.unroll(params, None, history.timestep).distribution  # [L, E, A]
        return -weighted_mean(jnp.sum(credit.target * jax.nn.log_softmax(logits), axis=-1), history.weight)

    return Loss(credit, surrogate)


def behaviour(task: Tree, history: Experience) -> Array:
    """The source as its own teacher: the probabilities of its actions."""
    return jax.nn.softmax(history.distribution)


def independent(source: Learner, meta_init: Callable[[Key], Tree]) -> Learner:
    """The source as a learner that owes nothing to φ = `meta_init(key)`: each agent has a first φ of its own."""

    def birth(meta_params: Tree, key: Key) -> Agent:
        own_key, birth_key = jax.random.split(key)
        own = source.meta_init(own_key)
        agent = source.birth(own, birth_key)
        return agent._replace(state=(own, agent.state))

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        own, state = agent.state
        agent = source.adapt(own, agent._replace(state=state), seen, key)
        return agent._replace(state=(own, agent.state))

    return Learner(meta_init, birth, adapt)
