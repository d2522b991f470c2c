"""Evolution over long lives: antithetic members that live on, each under its own history of φ ± noise."""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from metarl_jax.core.backprop import scheduled
from metarl_jax.core.batching import map_tasks
from metarl_jax.core.diagnostics import followed, unmoved, variance
from metarl_jax.core.evolution import around
from metarl_jax.core.life import Life
from metarl_jax.core.objective import Objective, Schedule
from metarl_jax.core.types import Array, Tree
from metarl_jax.core.update import Lives, Now, Update
from metarl_jax.core.window import Info, Window, averaged, entered, judged, report

Noise = Literal["es", "pes", "nres"]
# A life of 2 M members has a member axis where they differ; they share task, age and key, and so their randomness.
MEMBERS = Life(task=None, agent=0, scene=0, seen=0, age=None, key=None, noise=None)  # type: ignore[arg-type]


def persistent(
    window: Window,
    objective: Schedule | Objective,
    optimiser: optax.GradientTransformation,
    *,
    noise: Noise = "pes",
    pairs: int = 32,
    sigma: Array | float = 0.05,
) -> Update:
    """Evolution strategies on lives of many windows, of which each meta-step lives one.

    In the place of a life, M antithetic pairs live in its task with its randomness. In window w of their life they act
    and adapt under φ ± σ ε_w, and so differ only by their histories of φ:

        ∇φ L ≈ E_lives[ 1 / (2 M σ) Σ_i [L_w(φ + σ ε_{1..w,i}) − L_w(φ − σ ε_{1..w,i})] ξ_{w,i} ]

    Three choices of the noise ε that a window uses, and of the noise ξ that it is credited with:

        es     fresh in each window      ξ_w = ε_w                   truncated: biased, since earlier windows count too
        pes    fresh in each window      ξ_w = ε_1 + ... + ε_w       Vicol et al. 2021, arXiv:2112.13835
        nres   drawn at birth, and kept  ξ_w = ε_w                   Li et al. 2023, arXiv:2304.12180

    The last two are unbiased for the gradient of the smoothed loss of whole lives, as long as φ moves little during a
    life. The losses are used as they are: ranks are biased, and those of lives of different ages would compare ages.

    Args:
        window: the window that a meta-step lives; lives must outlast it unless the noise is es.
        objective: the objective of a window, which needs no derivative.
        optimiser: the rule that follows the gradient.
        noise: es, pes or nres.
        pairs: M, antithetic pairs of each life; memory grows with M.
        sigma: σ, their standard deviation.

    Raises:
        ValueError: lives begin with every window, where pes and nres are es.
    """
    if window.newborn and noise != "es":
        raise ValueError(f"noise is {noise}, and lives begin with every window, where it is es: choose es")
    schedule = scheduled(objective)

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        aim = schedule(now.step)

        def member(meta_params: Tree, life: Life) -> tuple[Life, Array, Info]:
            value, lived = judged(window, aim, meta_params, entered(window, meta_params, life))
            return lived.end, value, report(lived.seen)

        def together(life: Life) -> tuple[Life, Array, Array, Info]:
            used, credited = noise_of(noise, life, (pairs, flat.size), flat.dtype)
            lived = jax.vmap(member, in_axes=(0, MEMBERS), out_axes=(MEMBERS, 0, 0))
            end, losses, info = lived(around(meta_params, used, sigma), life)
            gradient = (losses[:pairs] - losses[pairs:]) @ credited / (2 * pairs * sigma)
            end = end._replace(noise=credited if noise == "pes" else ())
            return end, jnp.mean(losses), gradient, averaged(info)

        flat, unravel = ravel_pytree(meta_params)
        chunk = None if window.chunk is None else max(1, window.chunk // (2 * pairs))
        end, losses, gradients, info = map_tasks(together, chunk, lives.start)
        means = (jnp.mean(losses), jnp.mean(gradients, axis=0), jnp.mean(jnp.sum(gradients**2, axis=1)))
        value, gradient, moment = now.devices.mean(means)
        count = len(losses) * now.devices.count
        over_lives = variance(gradient, moment, count, count)
        meta_params, memory, found = followed(optimiser, unravel(gradient), meta_params, memory, aim.reach)
        lives = lives._replace(end=None if window.newborn else end)
        return meta_params, memory, averaged(info) | {"loss": value} | found | over_lives, lives

    def birth(begun: Callable[[Tree], Life], meta_params: Tree, unborn: Life) -> Life:
        flat, _ = ravel_pytree(meta_params)
        unborn = unborn._replace(noise=jnp.zeros((pairs, flat.size), flat.dtype) if noise == "pes" else ())
        used, _ = noise_of(noise, unborn, (pairs, flat.size), flat.dtype)
        return jax.vmap(begun, out_axes=MEMBERS)(around(meta_params, used, sigma))._replace(noise=unborn.noise)

    init = functools.partial(unmoved, optimiser)
    return Update(init, improve, windows=2 * pairs, birth=birth, members=2 * pairs)


def noise_of(noise: Noise, life: Life, shape: tuple[int, int], dtype: jnp.dtype) -> tuple[Array, Array]:
    """The noise ε that the next window of a life uses, and the noise ξ that it is credited with, [M, D] in units of σ.

    A life draws it from its own key, at its age or, where it is kept, always as at birth.
    """
    age = jnp.zeros_like(life.age) if noise == "nres" else life.age
    used = jax.random.normal(jax.random.fold_in(life.key, -1 - age), shape, dtype)  # turns fold in 0, 1, 2 ...
    return used, life.noise + used if noise == "pes" else used
