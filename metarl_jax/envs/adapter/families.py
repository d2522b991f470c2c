"""The task distributions of gymnax's environments: one entry a family, read without importing gymnax."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

Params = Any  # gymnax's EnvParams
State = Any  # gymnax's EnvState


@dataclasses.dataclass(frozen=True)
class Family:
    """A gymnax environment as a distribution of tasks, with corrections."""

    id: str
    """Its name in gymnax."""
    summary: str
    laws: tuple[str, ...] = ()
    """The distribution of every task number that varies, in the syntax of `laws.py`."""
    steps: int = 100
    """The time limit of an episode: gymnax's max_steps_in_episode."""
    episodes: int = 2
    permuted: bool = False
    sticky: float = 0.0
    hidden: tuple[int, ...] = ()
    """Entries of the observation that would reveal the task."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Parameters that are the same in every task and differ from gymnax's defaults."""
    options: tuple[tuple[str, Any], ...] = ()
    """Arguments of gymnax.make."""
    derive: Callable[[Params], Params] | None = None
    """Recomputes the parameters that follow from others."""
    mend: Callable[[State, Params], State] | None = None
    """Corrects the state after a step."""
    bounds: tuple[float, float] | None = None
    """Bounds of the observations, where gymnax declares wrong ones."""
    endless: bool = False
    """Only the time limit ends an episode, even if gymnax terminates it."""
    places: str | None = None
    """The frozen field that must be one of the open cells of gymnax's map."""


def cart_and_pole(params: Params) -> Params:
    """Recompute the derived parameters of CartPole, which gymnax stores as separate leaves."""
    return params.replace(total_mass=params.masscart + params.masspole, polemass_length=params.masspole * params.length)


def centre_of_the_first_link(params: Params) -> Params:
    """Acrobot's first link is uniform: its centre of mass depends on its length."""
    return params.replace(link_com_pos_1=params.link_length_1 / 2)


def bandit_clock(params: Params) -> Params:
    """The Bernoulli bandit observes the time in units of an episode."""
    return params.replace(t_max=params.max_steps_in_episode)


def stopped_by_the_wall(state: State, params: Params) -> State:
    """The continuous car loses its speed at the left wall, as in Gymnasium; in gymnax it keeps the speed."""
    at_wall = state.position <= params.min_position
    return state.replace(velocity=jnp.where(at_wall, jnp.maximum(state.velocity, 0.0), state.velocity))


UNBOUNDED = (float("-inf"), float("inf"))
# A quarter of the actions are sticky (Machado et al. 2018).
GAME: dict[str, Any] = {"permuted": True, "sticky": 0.25, "steps": 200}

FAMILIES = (
    Family(
        "CartPole-v1",
        "balance a pole of unknown mass and length",
        (
            "gravity uniform 7 13 beyond 3 20",
            "masscart uniform 0.5 2 beyond 0.2 5",
            "masspole uniform 0.05 0.5 beyond 0.01 1",
            "length uniform 0.25 1 beyond 0.1 2",
            "force_mag uniform 5 15 beyond 2 20",
        ),
        steps=500,
        derive=cart_and_pole,
    ),
    Family(
        "Pendulum-v1",
        "swing up a pendulum of unknown mass and length",
        (
            "g uniform 7 13 beyond 3 20",
            "m log_uniform 0.5 2 beyond 0.25 4",
            "l uniform 0.7 1.5 beyond 0.5 2",
            "max_torque uniform 1.5 3 beyond 1 4",
        ),
        steps=200,
    ),
    Family(
        "Acrobot-v1",
        "swing a two-link arm up by its elbow",
        (
            "link_length_1 uniform 0.7 1.3 beyond 0.5 2",
            "link_mass_1 log_uniform 0.5 2 beyond 0.25 4",
            "link_mass_2 log_uniform 0.5 2 beyond 0.25 4",
        ),
        steps=500,
        derive=centre_of_the_first_link,
    ),
    Family(
        "MountainCar-v0",
        "rock a weak car up a hill of unknown slope",
        ("force uniform 0.0008 0.0015 beyond 0.0006 0.0025", "gravity uniform 0.002 0.003 beyond 0.0015 0.004"),
        steps=200,
        permuted=True,
    ),
    Family(
        "MountainCarContinuous-v0",
        "rock a weak car up a hill of unknown slope, by force",
        ("power uniform 0.0012 0.002 beyond 0.0009 0.003", "gravity uniform 0.002 0.003 beyond 0.0015 0.004"),
        steps=400,
        mend=stopped_by_the_wall,
    ),
    Family(
        "Asterix-MinAtar",
        "gather gold and avoid enemies of unknown speed",
        ("init_spawn_speed uniform 6 14 beyond 3 25", "init_move_interval uniform 3 6 beyond 1 9"),
        **GAME,
    ),
    Family("Breakout-MinAtar", "break bricks with unknown controls", **GAME),
    Family(
        "Freeway-MinAtar",
        "cross a road at an unknown pace",
        ("player_speed uniform 2 4 beyond 1 8",),
        **GAME,
    ),
    Family(
        "Seaquest-MinAtar",
        "rescue divers among enemies of unknown speed",
        (
            "init_spawn_speed uniform 12 28 beyond 6 50",
            "init_move_interval uniform 3 7 beyond 2 10",
            "max_oxygen uniform 120 200 beyond 60 300",
        ),
        **GAME,
    ),
    Family(
        "SpaceInvaders-MinAtar",
        "shoot aliens of unknown speed and aim",
        (
            "enemy_move_interval uniform 8 14 beyond 6 20",
            "enemy_shot_interval uniform 6 12 beyond 3 20",
            "shot_cool_down uniform 3 7 beyond 1 12",
        ),
        **GAME,
    ),
    Family(
        "Catch-bsuite",
        "catch a falling ball with unknown controls",
        **GAME | {"steps": 9},
        episodes=10,
    ),
    Family(
        "DeepSea-bsuite",
        "dive to the far corner of a grid whose controls differ from cell to cell",
        ("action_mapping frozen 0 1", "unscaled_move_cost uniform 0.005 0.02 beyond 0 0.05"),
        steps=8,
        episodes=20,
        settings=(("sample_action_map", True),),
    ),
    Family(
        "MemoryChain-bsuite",
        "recall a bit after an unknown time, with buttons that may be swapped",
        ("memory_length uniform 3 40 beyond 1 60",),
        steps=61,
        permuted=True,
        bounds=(-1.0, 1.0),
    ),
    Family(
        "UmbrellaChain-bsuite",
        "take an umbrella that is rewarded only much later",
        ("chain_length uniform 5 60 beyond 2 100",),
        steps=100,
        permuted=True,
    ),
    Family(
        "DiscountingChain-bsuite",
        "find the one of five delayed rewards that is larger",
        ("optimal_return uniform 1.1 2 beyond 1.01 4",),
        steps=100,
        permuted=True,
    ),
    Family(
        "SimpleBandit-bsuite",
        "find the best of eleven arms with constant rewards",
        ("rewards uniform 0 1 beyond -1 2",),
        steps=1,
        episodes=30,
    ),
    Family(
        "FourRooms-misc",
        "find a goal hidden in one of four rooms",
        ("goal frozen 1 11", "fail_prob uniform 0 0.3 beyond 0 0.6"),
        steps=100,
        settings=(("resample_goal_pos", True),),
        hidden=(2, 3),
        places="goal",
    ),
    Family(
        "MetaMaze-misc",
        "find a goal in a maze again and again (Miconi et al. 2019)",
        ("goal frozen 1 9", "reward uniform 5 15 beyond 1 30", "punishment uniform -1 0 beyond -3 0"),
        steps=100,
        episodes=1,
        settings=(("normalize_time", True),),
        bounds=UNBOUNDED,
        endless=True,
        places="goal",
    ),
    Family(
        "PointRobot-misc",
        "walk to a hidden goal on a semicircle (Dorfman et al. 2021)",
        (
            "goal frozen -1 1",
            "goal_radius uniform 0.15 0.3 beyond 0.05 0.5",
            "max_force uniform 0.05 0.15 beyond 0.03 0.3",
        ),
        steps=100,
    ),
    Family(
        "BernoulliBandit-misc",
        "pull the better of two arms (Wang et al. 2016)",
        ("reward_probs uniform 0.1 0.9 beyond 0 1",),
        steps=100,
        episodes=1,
        derive=bandit_clock,
    ),
    Family(
        "GaussianBandit-misc",
        "choose between a constant arm and one of unknown mean and noise (Lange & Sprekeler 2022)",
        ("mu frozen -8 6", "sigma_l uniform 0.05 0.5 beyond 0.01 2"),
        steps=100,
        episodes=1,
        bounds=UNBOUNDED,
    ),
    Family(
        "Reacher-misc",
        "reach a hidden goal with an arm of unknown strength",
        ("goal_xy frozen -2 2", "torque_scale log_uniform 0.5 2 beyond 0.25 4"),
        steps=100,
        hidden=(6, 7),
    ),
    Family(
        "Swimmer-misc",
        "swim to a hidden goal between urchins",
        ("goal_xy frozen -1 1", "urchin_xys frozen -1 1", "dt uniform 0.03 0.08 beyond 0.02 0.15"),
        steps=100,
        hidden=(14, 15),
    ),
    Family(
        "Pong-misc",
        "return a ball of unknown speed with paddles of unknown speed",
        ("paddle_y_speed uniform 1 3 beyond 1 6", "ball_x_speed uniform 1 2 beyond 1 3"),
        **GAME,
    ),
    Family("FrozenLake-misc", "cross a frozen lake with unknown controls", **GAME | {"steps": 50}),
)

# Numbers that gymnax accepts without an error at 0 or below, where they give infinities, NaN or wrong physics.
POSITIVE = frozenset(
    """
    ball_max_y_speed ball_x_speed chain_length circle_radius diver_move_interval diver_spawn_speed dt
    enemy_move_interval enemy_shot_interval goal_radius init_move_interval init_spawn_speed l length link_com_pos_1
    link_com_pos_2 link_length_1 link_length_2 link_mass_1 link_mass_2 link_moi m masscart masspole max_force
    max_oxygen max_speed max_torque max_vel_1 max_vel_2 memory_length paddle_y_speed player_speed ramp_interval
    reward_timestep shot_cool_down t_max tau theta_threshold_radians torque_scale total_mass x_threshold
    """.split()  # noqa: SIM905
)
