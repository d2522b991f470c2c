"""Second-order MAML on 2D navigation in PyTorch: the work of `maml-navigation` in speed.py, written to be fast.

All tasks of a group walk together, one product a layer and step; what needs no step of its own (rewards, ends of
episodes, returns, baseline, advantages) is computed afterwards for all steps at once. Gradients are taken of `chunk`
tasks at a time, so that activations can stay in the cache. Gradients are averaged over processes before each Adam step.

A compiled function cannot be differentiated twice (`aot_autograd` has no double backward), and `jvp` of `grad` under
`vmap` does not trace (PyTorch 2.13). Compiled, the second derivative is therefore a `vjp` of `grad` inside the compiled
function: it passes through the inner loss once more. Walks stay eager.
"""

import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.multiprocessing as mp
from torch.func import grad, vjp, vmap

STEPS, ENVS, WIDTH = 100, 20, 100
STRIDE, TOLERANCE, SQUARE = 0.1, 0.01, 0.5
GAMMA, INNER_LR, META_LR, MAX_NORM = 0.99, 0.1, 1e-3, 1.0
RESOLUTION = 1e-3  # share of the returns below which an advantage is no more than rounding
SPELLS = 4  # of measurement
GROUP = 20  # tasks that walk together: enough to hide what a call costs, few enough for the cache

Tensor = torch.Tensor
Params = dict[str, Tensor]  # biases and log_std are rows, [1, W], and broadcast over environments


class Form(NamedTuple):
    """How the work is divided and executed."""

    chunks: tuple[int, ...]  # tasks differentiated at once, the fastest of these; none for all
    compiled: bool


FORMS = {
    "usual": Form((), compiled=False),  # one process whose operations use all cores
    "chunks": Form((1, 2, 5, 10, 20), compiled=False),  # one process a core
    "compiled chunks": Form((1, 2), compiled=True),
}


class Lived(NamedTuple):
    """What a surrogate reads of N tasks, R = T E rows each."""

    observation: Tensor  # [N, R, 2]
    action: Tensor  # [N, R, 2]
    credit: Tensor  # [N, R] standardised advantage times the row's share in the mean


Adapt = Callable[[Params, Lived], Params]  # φ -> θ of every task
Slope = Callable[[Params, Params, Lived, Lived], Params]  # φ, θ, lived before and after -> gradient in φ, summed


def initial_params() -> Params:
    """An MLP 2-W-W-2 with tanh, and a standard deviation of one stride."""
    sizes, scales = (2, WIDTH, WIDTH, 2), (2**0.5, 2**0.5, 0.01)
    params = {"log_std": torch.full((1, 2), math.log(STRIDE))}
    for i, scale in enumerate(scales):
        params[f"kernel_{i}"] = torch.nn.init.orthogonal_(torch.empty(sizes[i], sizes[i + 1]), scale)
        params[f"bias_{i}"] = torch.zeros(1, sizes[i + 1])
    return params


def mean_action(params: Params, x: Tensor) -> Tensor:
    """Of rows [R, 2] under one network, or [N, E, 2] under N."""
    product = torch.addmm if x.ndim == 2 else torch.baddbmm
    for i in range(2):
        x = torch.tanh(product(params[f"bias_{i}"], x, params[f"kernel_{i}"]))
    return product(params["bias_2"], x, params["kernel_2"])


def surrogate(params: Params, lived: Lived) -> Tensor:
    """The loss of one task, −Σ π_θ / π · credit; constants of the log-probability cancel."""
    standardised = (lived.action - mean_action(params, lived.observation)) * torch.exp(-params["log_std"])
    log_prob = -0.5 * (standardised**2).sum(-1) - params["log_std"].sum()
    return -(torch.exp(log_prob - log_prob.detach()) * lived.credit).sum()


def adapted(params: Params, lived: Lived) -> Params:
    """One inner step in one task."""
    slope = grad(surrogate)(params, lived)
    return {name: x - INNER_LR * slope[name] for name, x in params.items()}


def adapt(params: Params, lived: Lived) -> Params:
    return vmap(adapted, in_dims=(None, 0))(params, lived)


def slope_through(params: Params, fast: Params, before: Lived, after: Lived) -> Params:
    """Reverse through the graph that `adapt` left."""
    loss = vmap(surrogate)(fast, after).sum()
    return dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))


def slope_again(params: Params, fast: Params, before: Lived, after: Lived) -> Params:
    """The same without that graph: pull the outer slope back through a second inner step."""

    def pull_back(slope: Params, lived: Lived) -> Params:
        return vjp(lambda params: adapted(params, lived), params)[1](slope)[0]

    slopes = vmap(pull_back)(vmap(grad(surrogate))(fast, after), before)
    return {name: slope.sum(0) for name, slope in slopes.items()}


@torch.no_grad()
def walk(params: Params, *shape: int) -> tuple[Tensor, Tensor]:
    """Positions [T+1, *shape, 2] and actions [T, *shape, 2] of points that start in the origin."""
    actions = torch.randn(STEPS, *shape, 2) * torch.exp(params["log_std"])
    positions = torch.zeros(STEPS + 1, *shape, 2)
    for t in range(STEPS):
        actions[t] += mean_action(params, positions[t])
        torch.add(positions[t], actions[t].clamp(-STRIDE, STRIDE), out=positions[t + 1])
    return positions, actions


@torch.no_grad()
def live(params: Params, goals: Tensor, shared: bool) -> Lived:
    """One episode in every environment of every task, under one policy or one a task."""
    tasks = len(goals)
    walked = walk(params, tasks * ENVS) if shared else walk(params, tasks, ENVS)
    return credited(*(x.view(-1, tasks, ENVS, 2).transpose(0, 1) for x in walked), goals)


def credited(positions: Tensor, actions: Tensor, goals: Tensor) -> Lived:
    """Walks [N, T+1, E, 2] to goals [N, 2]: rewards, ends of episodes at the goal, and what each action earned."""
    offset = positions[:, 1:] - goals[:, None, None]
    arrived = (offset.abs() < TOLERANCE).all(-1)
    weight = (arrived.cumsum(1) - arrived.int() == 0).float()  # 1 up to the step that arrives
    lag = torch.arange(STEPS)[None] - torch.arange(STEPS)[:, None]
    discount = torch.where(lag >= 0, GAMMA ** lag.clamp(min=0), 0.0)
    returns = torch.einsum("tu,nue->nte", discount, -offset.norm(dim=-1) * weight)
    observation = positions[:, :-1]
    weight, returns = weight.flatten(1)[..., None], returns.flatten(1)[..., None]  # [N, R, 1]
    share = weight / weight.sum(1, keepdim=True)
    advantage = returns - baseline(observation, share, returns)
    advantage = advantage - (share * advantage).sum(1, keepdim=True)
    squares = share * (advantage**2 + (RESOLUTION * returns) ** 2)
    advantage = advantage / torch.sqrt(squares.sum(1, keepdim=True) + 1e-12)
    return Lived(observation.flatten(1, 2), actions.flatten(1, 2), (share * advantage)[..., 0])


def baseline(observation: Tensor, share: Tensor, returns: Tensor) -> Tensor:
    """Least squares on [s, s², t, t², t³, 1] by the normal equations of standardised features, twice, [N, R, 1]."""
    clock = (torch.arange(STEPS) / 100.0)[:, None, None].expand(*observation.shape[:-1], 1)
    features = torch.cat([observation, observation**2, clock, clock**2, clock**3], -1).flatten(1, 2)
    features = features - (share * features).sum(1, keepdim=True)
    features = features / torch.sqrt((share * features**2).sum(1, keepdim=True) + 1e-8)
    features = torch.cat([features, torch.ones_like(share)], -1)
    transposed = (share * features).mT
    gram = transposed @ features + 1e-5 * torch.eye(features.shape[-1])
    first = features @ torch.linalg.solve(gram, transposed @ returns)
    return first + features @ torch.linalg.solve(gram, transposed @ (returns - first))


def meta_gradient(
    params: Params, goals: Tensor, chunk: int, group: int, adapt: Adapt = adapt, slope: Slope = slope_through
) -> Params:
    """The gradient in φ, summed over tasks [N, 2]."""
    total = {name: torch.zeros_like(x) for name, x in params.items()}
    for goals in goals.split(group):  # noqa: B020
        before = live(params, goals, shared=True)
        fast = [adapt(params, lived) for lived in in_chunks(before, chunk)]
        own = {name: torch.cat([each[name] for each in fast]).detach() for name in params}
        after = live(own, goals, shared=False)
        for one in zip(fast, in_chunks(before, chunk), in_chunks(after, chunk), strict=True):
            for name, part in slope(params, *one).items():
                total[name] += part
    return total


def in_chunks(lived: Lived, chunk: int) -> Iterator[Lived]:
    return map(Lived, *(x.split(chunk) for x in lived))


class Team(NamedTuple):
    """Processes that add up tensors in shared memory."""

    size: int
    rows: Tensor  # [size, room]
    barrier: Any

    def sum(self, rank: int, x: Tensor) -> Tensor:
        """All-reduce: the sum of every process's x [n]."""
        rows = self.rows[:, : len(x)]
        rows[rank] = x
        self.barrier.wait()
        total = rows.sum(0)
        self.barrier.wait()  # until all have read
        return total


class Learner:
    """One process's share of the tasks, and a copy of φ that equals those of the others."""

    def __init__(self, form: Form, tasks: int, team: Team, rank: int) -> None:
        torch.manual_seed(0)
        self.params = {name: x.requires_grad_(not form.compiled) for name, x in initial_params().items()}
        self.optimiser = torch.optim.Adam(self.params.values(), META_LR, eps=1e-5)
        torch.manual_seed(1 + rank)
        self.tasks, self.team, self.rank = tasks, team, rank
        self.share = len(range(rank, tasks, team.size))
        self.how: tuple[Adapt, Slope] = (adapt, slope_through)
        if form.compiled:
            self.how = (torch.compile(adapt, dynamic=False), torch.compile(slope_again, dynamic=False))
        self.group = GROUP if form.chunks else tasks
        self.chunk = self.fastest(form.chunks) if form.chunks else tasks

    def gradient(self, tasks: int, chunk: int) -> Params:
        goals = SQUARE * (2 * torch.rand(tasks, 2) - 1)
        return meta_gradient(self.params, goals, chunk, self.group, *self.how)

    def fastest(self, chunks: tuple[int, ...]) -> int:
        """Of these chunks, by the gradient of one group, all processes at once."""
        tasks = min(self.share, GROUP)
        chunks = tuple(chunk for chunk in chunks if chunk <= tasks)
        trials = [[seconds(lambda c=chunk: self.gradient(tasks, c)) for _ in range(3)] for chunk in chunks]
        best = self.team.sum(self.rank, torch.tensor([min(times) for times in trials]))
        return chunks[int(best.argmin())]

    def step(self) -> None:
        slope = self.gradient(self.share, self.chunk)
        flat = self.team.sum(self.rank, torch.cat([x.flatten() for x in slope.values()])) / self.tasks
        parts = flat.split([x.numel() for x in self.params.values()])
        for x, part in zip(self.params.values(), parts, strict=True):
            x.grad = part.view_as(x)
        torch.nn.utils.clip_grad_norm_(self.params.values(), MAX_NORM)
        self.optimiser.step()


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(form: str, tasks: int, seconds: float) -> dict[str, Any]:
    """Meta-steps for at least so many seconds, in as many processes as the form has."""
    size = min(torch.get_num_threads(), tasks) if FORMS[form].chunks else 1
    context = mp.get_context("spawn")
    results = context.SimpleQueue()
    room = sum(x.numel() for x in initial_params().values())
    team = Team(size, torch.zeros(size, room).share_memory_(), context.Barrier(size))
    mp.spawn(_measure, (team, form, tasks, seconds, results), nprocs=size)
    return results.get()


def _measure(rank: int, team: Team, form: str, tasks: int, least: float, results: Any) -> None:
    limit_memory()
    if team.size > 1:
        torch.set_num_threads(1)
    learner = Learner(FORMS[form], tasks, team, rank)
    learner.gradient(min(learner.share, GROUP), learner.chunk)  # warm; a whole step may take half a minute
    spells = [_spell(rank, team, learner, least / SPELLS) for _ in range(SPELLS)]
    peak = team.sum(rank, torch.tensor([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
    if rank == 0:
        median = min(statistics.median(times) for times in spells)  # as speed.py does
        results.put(
            {
                "env_steps_per_second": 2 * tasks * ENVS * STEPS / median,
                "meta_steps_per_second": 1 / median,
                "peak_gibibytes": float(peak),
                "meta_steps_timed": sum(map(len, spells)),
                "processes": team.size,
                "chunk": learner.chunk,
            }
        )


def _spell(rank: int, team: Team, learner: Learner, least: float) -> list[float]:
    """The seconds of meta-steps, until they add up to `least`; the processes agree when to stop."""
    times: list[float] = []
    while sum(times) < least:
        times.append(float(team.sum(rank, torch.tensor([seconds(learner.step)])) / team.size))
    return times


def limit_memory() -> None:
    """Refuse to grow over 85 % of the machine, rather than have it end other programs."""
    bytes_ = int(0.85 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    resource.setrlimit(resource.RLIMIT_DATA, (bytes_, bytes_))
