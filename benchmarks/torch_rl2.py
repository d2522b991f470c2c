"""RL² in PyTorch: the work of `rl2-bandit` and `rl2-maze` in speed.py, written to be fast.

All trials of a process act together, one product a step; advantages are one product over the whole trial. A batch of
trials is relived in epochs of minibatches whose gradients are averaged over processes before each Adam step.

The library's GRU is a loop of calls, forwards and in reverse, and its tanh takes six times as long as its sigmoid
(PyTorch 2.13). Compiled, a replay therefore goes by stretches of steps, in each of which everything between two
products is one kernel, and its reverse is written out: differentiated by the compiler, stretches are a quarter slower.

No task is held out for tests here, so none is drawn in vain.
"""

import dataclasses
import resource
import statistics
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.multiprocessing as mp
from torch_maml import SPELLS, Team, limit_memory, seconds

GAMMA, LAMBDA, CLIP, ENTROPY, VALUE_WEIGHT = 0.99, 0.95, 0.2, 0.01, 0.5
META_LR, MAX_NORM, EPOCHS, MINIBATCHES = 1e-3, 0.5, 4, 4
RESOLUTION = 1e-3  # share of the returns below which an advantage is no more than rounding
STRETCH = 10  # steps compiled together: enough to hide what a call costs, few enough to compile in seconds

Tensor = torch.Tensor
State = tuple[Tensor, ...]  # whole numbers [N] each, all 0 where an episode begins


class Form(NamedTuple):
    """How the work is divided and executed."""

    processes: bool  # one a core; otherwise one whose operations use all cores
    compiled: bool


FORMS = {
    "usual": Form(processes=False, compiled=False),
    "processes": Form(processes=True, compiled=False),
    "compiled processes": Form(processes=True, compiled=True),
}


class World(Protocol):
    """What is the same for all trials; tasks and states have a row for each of N."""

    observations: int
    actions: int
    numbers: int  # of a state
    steps: int  # T, of a trial
    quota: int  # episodes that count; the steps after them weigh nothing

    def draw(self, tasks: int) -> Any: ...

    def observe(self, task: Any, state: State) -> Tensor: ...

    def step(self, task: Any, state: State, action: Tensor, luck: Tensor) -> tuple[State, Tensor, Tensor]:
        """Where it leads, what it pays, whether it ends the episode; `luck` is uniform, [N]."""


@dataclasses.dataclass(frozen=True)
class Bandit:
    """Arms that pay 1 with probability p ~ U[0, 1], else 0."""

    observations: ClassVar[int] = 1
    numbers: ClassVar[int] = 1
    quota: ClassVar[int] = 1

    actions: int = 5
    steps: int = 100

    def draw(self, tasks: int) -> Tensor:
        return torch.rand(tasks, self.actions)

    def observe(self, task: Tensor, state: State) -> Tensor:
        return torch.ones_like(task[:, :1])

    def step(self, task: Tensor, state: State, action: Tensor, luck: Tensor) -> tuple[State, Tensor, Tensor]:
        pulled = state[0] + 1
        reward = luck < task.gather(1, action[:, None])[:, 0]
        return (pulled,), reward.to(task.dtype), pulled >= self.steps


class Mazes(NamedTuple):
    """N mazes as tables over their C cells, numbered row by row."""

    leads: Tensor  # [N, C, 4] the cell behind each move
    seen: Tensor  # [N, C, O] what is observed there


@dataclasses.dataclass(frozen=True)
class Maze:
    """Spanning trees of a grid with some more walls opened, as in metarl_jax/envs/maze.py."""

    actions: ClassVar[int] = 4
    numbers: ClassVar[int] = 2  # the cell, and the steps taken

    size: int = 7
    patience: int = 140
    openings: float = 0.1
    steps: int = 200
    quota: int = 10

    @property
    def observations(self) -> int:
        return 2 * (self.size + 2) + 4

    def draw(self, tasks: int) -> Mazes:
        one, other = self.walls()
        opened = spanning_trees(one, other, tasks, self.size**2) | (torch.rand(tasks, len(one)) < self.openings)
        return self.tables(opened)

    def walls(self) -> tuple[Tensor, Tensor]:
        """The cells on both sides of every inner wall: first the passages right, then down."""
        cells = torch.arange(self.size**2).view(self.size, self.size)
        one, other = (cells[:, :-1], cells[:-1]), (cells[:, 1:], cells[1:])
        return torch.cat([x.flatten() for x in one]), torch.cat([x.flatten() for x in other])

    def tables(self, opened: Tensor) -> Mazes:
        """Of the walls that are open, [N, walls]."""
        tasks, size, half = len(opened), self.size, opened.shape[1] // 2
        moves = torch.zeros(tasks, size, size, 4, dtype=torch.bool)  # up, right, down, left
        moves[:, :, :-1, 1] = moves[:, :, 1:, 3] = opened[:, :half].view(tasks, size, size - 1)
        moves[:, :-1, :, 2] = moves[:, 1:, :, 0] = opened[:, half:].view(tasks, size - 1, size)
        moves = moves.flatten(1, 2)
        here = torch.arange(size**2)
        leads = here[:, None] + torch.where(moves, torch.tensor([-size, 1, size, -1]), 0)
        far = torch.eye(size + 2)[size - 1 - torch.stack([here // size, here % size], 1)].flatten(1)
        return Mazes(leads, torch.cat([far.expand(tasks, *far.shape), moves], 2))

    def observe(self, task: Mazes, state: State) -> Tensor:
        return task.seen[torch.arange(len(task.seen)), state[0]]

    def step(self, task: Mazes, state: State, action: Tensor, luck: Tensor) -> tuple[State, Tensor, Tensor]:
        cell, clock = task.leads[torch.arange(len(task.leads)), state[0], action], state[1] + 1
        found = cell == self.size**2 - 1
        return (cell, clock), torch.where(found, 1.0, -0.01), found | (clock >= self.patience)


def spanning_trees(one: Tensor, other: Tensor, tasks: int, cells: int) -> Tensor:
    """Kruskal's algorithm in all mazes at once: the walls to open, [N, walls]."""
    label = torch.arange(cells).repeat(tasks, 1)  # the region that a cell belongs to
    order = torch.rand(tasks, len(one)).argsort(1)
    ours, theirs = one[order], other[order]
    opens = []
    for k in range(len(one)):
        region, joined = label.gather(1, ours[:, k, None]), label.gather(1, theirs[:, k, None])
        label = torch.where(label == region, joined, label)
        opens.append(region != joined)
    return torch.zeros(tasks, len(one), dtype=torch.bool).scatter(1, order, torch.cat(opens, 1))


WORLDS: dict[str, tuple[World, int]] = {"rl2-bandit": (Bandit(), 64), "rl2-maze": (Maze(), 128)}  # and the width


class Params(NamedTuple):
    """A GRU of gates r, z, n in the library's layout, and a head of logits and value on [memory, inputs]."""

    of_input: Tensor  # [3W, I]
    input_bias: Tensor  # [3W]
    of_memory: Tensor  # [3W, W]
    memory_bias: Tensor  # [3W]
    head: Tensor  # [A + 1, W + I]
    head_bias: Tensor  # [A + 1]


def initial_params(world: World, width: int) -> Params:
    inputs, outputs = world.observations + world.actions + 2, world.actions + 1
    head = torch.nn.init.orthogonal_(torch.empty(outputs, width + inputs))
    head[:-1] *= 0.01
    return Params(
        of_input=torch.randn(3 * width, inputs) / inputs**0.5,
        input_bias=torch.zeros(3 * width),
        of_memory=torch.cat([torch.nn.init.orthogonal_(torch.empty(width, width)) for _ in range(3)]),
        memory_bias=torch.zeros(3 * width),
        head=head,
        head_bias=torch.zeros(outputs),
    )


def tanh(x: Tensor) -> Tensor:
    return 2 * torch.sigmoid(2 * x) - 1


def gated(gates: Tensor, recalled: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
    """r, z, n, what the memory says to n, and the memory after, [B, W] each, of what inputs and memory say, [B, 3W]."""
    (to_r, to_z, to_n), (r, z, said) = gates.chunk(3, 1), recalled.chunk(3, 1)
    r, z = torch.sigmoid(to_r + r), torch.sigmoid(to_z + z)
    n = tanh(to_n + r * said)
    return r, z, n, said.clone(), n + z * (memory - n)


Saved = list[tuple[Tensor, ...]]  # of each step: what `gated` makes


def advance(params: Params, memory: Tensor, inputs: Tensor) -> Saved:
    """A stretch of steps, [S, B, I]."""
    gates = torch.addmm(params.input_bias, inputs.flatten(0, 1), params.of_input.mT).unflatten(0, inputs.shape[:2])
    saved = []
    for t in range(len(inputs)):
        recalled = torch.addmm(params.memory_bias, memory, params.of_memory.mT)
        saved.append(gated(gates[t], recalled, memory))
        memory = saved[t][-1]
    return saved


def retreat(
    of_memory: Tensor, memory: Tensor, inputs: Tensor, saved: Saved, incoming: Tensor, slope: Tensor, sums: list[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """The reverse of a stretch: what it adds to the `sums`, and the slope [B, W] in the memory before it.

    Gates lie in the order n, r, z, n times r: three columns of widths are the slope in what the inputs say to the
    gates, and the last three that in what the memory says. The sums are of [4W, I], [3W, W] and [4W].
    """
    width = memory.shape[1]
    to_input, to_memory, to_bias = sums
    for t in reversed(range(len(saved))):
        r, z, n, said, _ = saved[t]
        before = saved[t - 1][-1] if t else memory
        slope = slope + incoming[t]
        to_z, to_n = slope * (before - n) * z * (1 - z), slope * (1 - z) * (1 - n * n)
        to_r = to_n * said * r * (1 - r)
        gates = torch.cat([to_n, to_r, to_z, to_n * r], 1)
        slope = torch.addmm(slope * z, gates[:, width:], of_memory)
        to_input = torch.addmm(to_input, gates[:, : 3 * width].mT, inputs[t])
        to_memory = torch.addmm(to_memory, gates[:, width:].mT, before)
        to_bias = to_bias + gates.sum(0)
    return [to_input, to_memory, to_bias], slope


class ByStretches(torch.autograd.Function):
    """The memories [T, B, W] along inputs [T, B, I], from a blank one."""

    @staticmethod
    def forward(ctx: Any, how: "How", inputs: Tensor, *weights: Tensor) -> Tensor:
        params = Params(*weights, None, None)
        memory = inputs.new_zeros(inputs.shape[1], params.of_memory.shape[1])
        ctx.how, ctx.of_memory, ctx.stretches = how, params.of_memory, []
        for part in inputs.split(STRETCH):
            saved = how.advance(params, memory, part)
            ctx.stretches.append((memory, part, saved))
            memory = saved[-1][-1]
        return torch.stack([step[-1] for _, _, saved in ctx.stretches for step in saved])

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        slope, width = torch.zeros_like(incoming[0]), incoming.shape[2]
        inputs = ctx.stretches[0][1].shape[2]
        sums = [incoming.new_zeros(shape) for shape in ((3 * width, inputs), (3 * width, width), (4 * width,))]
        for stretch, above in zip(reversed(ctx.stretches), reversed(incoming.split(STRETCH)), strict=True):
            sums, slope = ctx.how.retreat(ctx.of_memory, *stretch, above, slope, sums)
        to_input, to_memory, to_bias = sums
        in_order = to_input.roll(-width, 0), to_bias[: 3 * width].roll(-width)  # n, r, z -> r, z, n
        return None, None, *in_order, to_memory, to_bias[width:]


def by_stretches(how: "How", params: Params, inputs: Tensor) -> Tensor:
    return ByStretches.apply(how, inputs, *params[:4])


def by_library(how: "How", params: Params, inputs: Tensor) -> Tensor:
    """The same by what `nn.GRU` calls."""
    blank = inputs.new_zeros(1, inputs.shape[1], params.of_memory.shape[1])
    weights = [params.of_input, params.of_memory, params.input_bias, params.memory_bias]
    return torch.gru(inputs, blank, weights, True, 1, 0.0, True, False, False)[0]


def step_of_library(params: Params, memory: Tensor, inputs: Tensor) -> Tensor:
    return torch.gru_cell(inputs, memory, params.of_input, params.of_memory, params.input_bias, params.memory_bias)


def step_of_stretches(params: Params, memory: Tensor, inputs: Tensor) -> Tensor:
    return advance(params, memory, inputs[None])[0][-1]


def read(params: Params, memory: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities [..., A] and value [...]."""
    said = torch.nn.functional.linear(torch.cat([memory, inputs], -1), params.head, params.head_bias)
    return said[..., :-1].log_softmax(-1), said[..., -1]


class Scene(NamedTuple):
    """Where N trials stand."""

    inputs: Tensor  # [N, I] observation, last action (one-hot), last reward, whether an episode begins
    memory: Tensor  # [N, W]
    state: State
    episodes: Tensor  # [N] ended so far


class Record(NamedTuple):
    """What is kept of a step of N trials, or of T."""

    inputs: Tensor  # [T, N, I]
    action: Tensor  # [T, N]
    log_prob: Tensor
    value: Tensor
    reward: Tensor
    weight: Tensor  # 1 where the step counts
    final: Tensor  # bool, the step that used up the quota


class Batch(NamedTuple):
    """What a surrogate reads."""

    inputs: Tensor  # [T, N, I]
    action: Tensor  # [T, N]
    log_prob: Tensor
    advantage: Tensor
    target: Tensor
    weight: Tensor


def perceive(world: World, task: Any, state: State, action: Tensor, reward: Tensor, first: Tensor) -> Tensor:
    chosen = action[:, None] == torch.arange(world.actions)
    return torch.cat([world.observe(task, state), chosen, reward[:, None], first[:, None]], 1)


def act(how: "How", world: World, params: Params, task: Any, scene: Scene, luck: Tensor) -> tuple[Any, ...]:
    """A step of all trials by uniform numbers `luck` [2, N]: the scene after, the state before a reset, the record."""
    memory = how.remember(params, scene.memory, scene.inputs)
    log_probs, value = read(params, memory, scene.inputs)
    action = (log_probs.exp().cumsum(1)[:, :-1] <= luck[0][:, None]).sum(1)
    arrived, reward, ended = world.step(task, scene.state, action, luck[1])
    counts, episodes = scene.episodes < world.quota, scene.episodes + ended
    log_prob = log_probs.gather(1, action[:, None])[:, 0]
    final = counts & (episodes >= world.quota)
    record = (action, log_prob, value, reward, counts.to(reward.dtype), final)
    state = tuple(torch.where(ended, 0, x) for x in arrived)
    inputs = perceive(world, task, state, action, reward, ended)
    return Scene(inputs, memory, state, episodes), arrived, record


@torch.no_grad()
def live(how: "How", world: World, params: Params, task: Any, tasks: int) -> tuple[Record, Tensor]:
    """One trial of each task, and the value [N] of where it leads."""
    blank = torch.zeros(tasks, dtype=torch.int64)
    state, start = (blank,) * world.numbers, torch.ones(tasks, dtype=torch.bool)
    inputs = perceive(world, task, state, blank, torch.zeros(tasks), start)
    scene = Scene(inputs, torch.zeros(tasks, params.of_memory.shape[1]), state, blank)
    rows = []
    for luck in torch.rand(world.steps, 2, tasks):
        inputs = scene.inputs
        scene, arrived, row = how.act(how, world, params, task, scene, luck)
        rows.append((inputs, *row))
    record = Record(*map(torch.stack, zip(*rows, strict=True)))
    inputs = perceive(world, task, arrived, record.action[-1], record.reward[-1], ~start)
    return record, read(params, how.remember(params, scene.memory, inputs), inputs)[1]


Total = Callable[[Tensor], Tensor]  # the sum over processes


def credited(record: Record, last: Tensor, total: Total) -> Batch:
    """Advantages over whole trials, at mean 0 and deviation 1 over the steps of all processes that count.

    They are divided by no less than a small share of the returns.

    Rewards are in units in which a discounted return is an average. Errors after the quota are set to 0 and so need no
    cut: the sum over what follows is the same product for all trials.
    """
    steps = len(record.value)
    reward = record.reward * max(1 - GAMMA, 1 / steps)
    following = torch.cat([record.value[1:], last[None]]) * ~record.final
    error = (reward + GAMMA * following - record.value) * record.weight
    lag = torch.arange(steps, dtype=error.dtype) - torch.arange(steps, dtype=error.dtype)[:, None]
    advantage = torch.where(lag >= 0, (GAMMA * LAMBDA) ** lag.clamp(min=0), 0) @ error
    target = record.value + advantage
    count, sum_ = total(torch.stack([record.weight.sum(), (advantage * record.weight).sum()]))
    advantage = advantage - sum_ / count
    squares = torch.stack([(advantage**2 * record.weight).sum(), (target**2 * record.weight).sum()])
    variance, size = total(squares) / count
    advantage = advantage / torch.sqrt(variance + RESOLUTION**2 * size + 1e-12)
    return Batch(record.inputs, record.action, record.log_prob, advantage, target, record.weight)


def surrogate(params: Params, memory: Tensor, batch: Batch) -> Tensor:
    """The loss of PPO, given the memories along a batch."""
    log_probs, value = read(params, memory, batch.inputs)
    log_prob = log_probs.gather(2, batch.action[..., None])[..., 0]
    ratio = torch.exp(log_prob - batch.log_prob)
    gain = torch.minimum(ratio * batch.advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * batch.advantage)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    loss = VALUE_WEIGHT * 0.5 * (value - batch.target) ** 2 - gain - ENTROPY * entropy
    return (loss * batch.weight).sum() / batch.weight.sum()


def gradient(how: "How", params: Params, batch: Batch) -> tuple[Tensor, ...]:
    memory = how.replay(how, params, batch.inputs)
    return torch.autograd.grad(how.surrogate(params, memory, batch), params)


class How(NamedTuple):
    """The functions that a form replaces."""

    remember: Callable[..., Tensor]
    act: Callable[..., tuple[Any, ...]]
    replay: Callable[..., Tensor]
    advance: Callable[..., Saved] = advance
    retreat: Callable[..., Any] = retreat
    surrogate: Callable[..., Tensor] = surrogate


LIBRARY = How(step_of_library, act, by_library)
STRETCHES = How(step_of_stretches, act, by_stretches)


def compiled(how: How) -> How:
    names = ("act", "advance", "retreat", "surrogate")
    return how._replace(**{name: torch.compile(getattr(how, name), dynamic=False) for name in names})


class Learner:
    """One process's share of the trials, and a copy of φ that equals those of the others."""

    def __init__(self, workload: str, form: Form, tasks: int, team: Team, rank: int) -> None:
        self.world, width = WORLDS[workload]
        torch.manual_seed(0)
        self.params = Params(*(x.requires_grad_() for x in initial_params(self.world, width)))
        self.optimiser = torch.optim.Adam(self.params, META_LR, eps=1e-5, fused=True)
        torch.manual_seed(1 + rank)
        self.share, self.team, self.rank = tasks // team.size, team, rank
        self.how = compiled(STRETCHES) if form.compiled else LIBRARY

    def total(self, x: Tensor) -> Tensor:
        return self.team.sum(self.rank, x)

    def live(self) -> tuple[Record, Tensor]:
        return live(self.how, self.world, self.params, self.world.draw(self.share), self.share)

    def step(self) -> None:
        batch = credited(*self.live(), self.total)
        for _ in range(EPOCHS):
            for part in torch.randperm(self.share).chunk(MINIBATCHES):
                self.improve(gradient(self.how, self.params, Batch(*(x[:, part] for x in batch))))

    def improve(self, slope: tuple[Tensor, ...]) -> None:
        flat = self.total(torch.cat([x.flatten() for x in slope])) / self.team.size
        parts = flat.split([x.numel() for x in self.params])
        for x, part in zip(self.params, parts, strict=True):
            x.grad = part.view_as(x)
        torch.nn.utils.clip_grad_norm_(self.params, MAX_NORM)
        self.optimiser.step()

    def spell(self, least: float) -> list[float]:
        """How long steps take, for at least so many seconds."""
        times: list[float] = []
        while sum(times) < least or len(times) < 3:
            took = self.total(torch.tensor([seconds(self.step)])) / self.team.size  # all agree when to stop
            times.append(float(took))
        return times

    def check(self) -> None:
        """A replay says what was said in life."""
        record, _ = self.live()
        log_probs, value = read(self.params, self.how.replay(self.how, self.params, record.inputs), record.inputs)
        log_prob = log_probs.gather(2, record.action[..., None])[..., 0]
        torch.testing.assert_close((log_prob, value), (record.log_prob, record.value), rtol=1e-4, atol=1e-4)


def measure(workload: str, form: str, tasks: int, seconds: float) -> dict[str, Any]:
    """Meta-steps for at least so many seconds, in as many processes as the form has; the quietest of several spells."""
    most = torch.get_num_threads() if FORMS[form].processes else 1
    size = max(n for n in range(1, most + 1) if tasks % (n * MINIBATCHES) == 0)
    context = mp.get_context("spawn")
    results = context.SimpleQueue()
    room = sum(x.numel() for x in initial_params(*WORLDS[workload]))
    team = Team(size, torch.zeros(size, room).share_memory_(), context.Barrier(size))
    mp.spawn(_measure, (team, workload, form, tasks, seconds, results), nprocs=size)
    return results.get()


def _measure(rank: int, team: Team, workload: str, form: str, tasks: int, least: float, results: Any) -> None:
    limit_memory()
    if team.size > 1:
        torch.set_num_threads(1)
    learner = Learner(workload, FORMS[form], tasks, team, rank)
    learner.check()
    learner.step()
    spells = [learner.spell(least / SPELLS) for _ in range(SPELLS)]
    peak = learner.total(torch.tensor([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
    if rank == 0:
        median = min(statistics.median(times) for times in spells)  # as speed.py does
        results.put(
            {
                "env_steps_per_second": tasks * learner.world.steps / median,
                "meta_steps_per_second": 1 / median,
                "peak_gibibytes": float(peak),
                "meta_steps_timed": sum(map(len, spells)),
                "processes": team.size,
            }
        )
