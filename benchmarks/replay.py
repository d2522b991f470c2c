"""Where the time of a replay goes: a GRU along recorded trials, forwards and in reverse, on one core.

    python benchmarks/replay.py [--out FILE]

The shapes are those of a minibatch on one of two cores in `rl2-bandit` and `rl2-maze` of speed.py. `form` rows are
whole replays with their gradient, by what reverse mode records: everything (`scan`), the arrays of all steps, with
derivatives and weight gradients outside the loop (`outside`), the same for one block of steps after another (`blocks`),
or the states alone (`stepwise`). `part` rows are pieces of the last one, each in a loop of its own, and both forms for
a single trial, whose arithmetic is next to nothing. `floor` rows are the least that a replay can take: its products,
as in speed.py, or the numbers that it has to move. One JSON line a row: milliseconds, the least of several calls.
"""

import argparse
import datetime
import functools
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from floor import Work, floor_seconds
from speed import keep

from metarl_jax.core.memories.gated import _gru, blockwise, gated_unroll, gru, stepwise
from metarl_jax.experiment import devices

CALLS = 30


class Shape(NamedTuple):
    """A minibatch of trials on one core."""

    steps: int
    rows: int
    width: int
    inputs: int


SHAPES = {"rl2-bandit": Shape(100, 128, 64, 8), "rl2-maze": Shape(200, 32, 128, 28)}
Row = dict[str, Any]


def least(function: Callable[..., Any], *arguments: Any) -> float:
    """Milliseconds by the clock: that of the processor may not yet count what another thread has just done."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def forms(shape: Shape) -> dict[str, float]:
    """Whole replays with their gradient."""
    memory = gru(shape.inputs, shape.width)
    params, (x, incoming) = memory.init(jax.random.key(0)), trial(shape)
    keep, blank = jnp.ones((*x.shape[:2], 1)), memory.blank((shape.rows,))

    def scan(params: Any) -> Any:
        return jax.lax.scan(lambda state, now: memory.step(params, state, *now), blank, (x, keep))[1]

    def stretch(params: Any, state: Any, x: Any, keep: Any) -> Any:
        gates = [params["gates"][name] for name in ("reset", "update", "candidate")]
        entering = tuple(x @ gate["input"] + gate["bias"] for gate in gates)
        return gated_unroll(_gru, tuple(gate["recurrent"] for gate in gates), params["own"], state, entering, keep)

    def outside(params: Any) -> Any:
        return stretch(params, blank, x, keep)[1]

    def blocks(params: Any) -> Any:
        return blockwise(functools.partial(stretch, params), blank, x, keep)

    def repeated(params: Any) -> Any:
        return stepwise(functools.partial(memory.step, params), blank, x, keep)

    def gradient(replay: Callable[[Any], Any]) -> float:
        return least(jax.grad(lambda params: jnp.sum(replay(params) * incoming)), params)

    replays = {"scan": scan, "outside": outside, "blocks": blocks, "stepwise": repeated}
    found = {name: gradient(replay) for name, replay in replays.items()}
    return found | {"stepwise, forward only": least(repeated, params)}


def parts(shape: Shape) -> dict[str, float]:
    """Pieces of a step, each for all steps: products with the memory, with the inputs, for the weights; elementwise."""
    x, incoming = trial(shape)
    state, recurrent, entering = incoming[0], incoming[0, :1].T @ incoming[0, :1], x[0, :1].T @ incoming[0, :1]

    def loop(body: Callable[[Any, Any], Any], start: Any) -> float:
        return least(lambda start, x: jax.lax.scan(lambda carry, now: (body(carry, now), None), start, x)[0], start, x)

    def weights(left: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda carry, now: (0.9 * carry[0], carry[1] + left((carry[0], now)).T @ carry[0])

    def three(product: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda carry, now: 0.1 * sum(product(carry + i, now) for i in range(3))

    alone = forms(shape._replace(rows=1))
    elementwise = lambda carry, now: _gru(jnp.zeros(shape.width), (carry,), (carry,) * 3, (carry,) * 3)[0]  # noqa: E731
    return {
        "forward or slope, three products": loop(three(lambda h, now: h @ recurrent), state),
        "inputs, three products": loop(three(lambda h, now: now[:, :1] + now @ (entering + h[0, 0])), state),
        "weights of the memory, one of three": loop(weights(lambda pair: pair[0]), (state, recurrent)),
        "weights of the inputs, one of three": loop(weights(lambda pair: pair[1]), (state, entering)),
        "elementwise": loop(elementwise, state),
        "a single trial": alone["stepwise"],
        "a single trial in blocks": alone["blocks"],
    }


def floors(shape: Shape) -> dict[str, float]:
    """Products forwards, for slopes and for weights; inputs read twice, states written and read, cotangents read."""
    steps, rows, width, inputs = shape
    recurrent, entering = (6.0 * size * width * steps * rows for size in (width, inputs))
    work = [
        Work("forward", recurrent, rows, width, 3 * width),
        Work("slope", recurrent, rows, 3 * width, width),
        Work("weights", recurrent, rows * steps, width, 3 * width),
        Work("forward", entering, rows * steps, inputs, 3 * width),
        Work("weights", entering, rows * steps, inputs, 3 * width),
    ]
    copied = jnp.ones((steps, rows, 2 * inputs + 3 * width))
    return {"products": 1e3 * floor_seconds(work, None), "bytes": least(lambda x: x + 1.0, copied) / 2}  # read, written


def trial(shape: Shape) -> tuple[jax.Array, jax.Array]:
    """Inputs [T, B, I], and what comes back to the memories [T, B, W]."""
    steps, rows, width, inputs = shape
    keys = jax.random.split(jax.random.key(1))
    return jax.random.normal(keys[0], (steps, rows, inputs)), 0.1 * jax.random.normal(keys[1], (steps, rows, width))


def measure(workload: str, shape: Shape) -> list[Row]:
    told = {"workload": workload, **shape._asdict(), "device": devices.describe(), "versions": devices.versions()}
    told["date"] = datetime.date.today().isoformat()
    kinds = {"form": forms(shape), "part": parts(shape), "floor": floors(shape)}
    return [
        {**told, "kind": kind, "row": row, "milliseconds": ms}
        for kind, found in kinds.items()
        for row, ms in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the lines as a JSON list")
    given = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 1)
    lines = [json.dumps(row) for workload, shape in SHAPES.items() for row in measure(workload, shape)]
    print("\n".join(lines))
    keep(lines, given.out)


if __name__ == "__main__":
    main()
