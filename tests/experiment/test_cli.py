"""The command line: what it prints, and exit code 2 with the value and the remedy for everything that is wrong."""

import json
import subprocess
import sys

import jax
import pytest
from shell_toy import toy  # noqa: F401

from metarl_jax.algorithms import ALGORITHMS, VARIANTS
from metarl_jax.core.types import SPLITS
from metarl_jax.envs import ADAPTED, ENVIRONMENTS
from metarl_jax.experiment import api, checkpoint, cli, commands
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.config import resolve

# By tyro or by us, and what each must say.
WRONG = [
    ("", "{train, sweep, plan, evaluate, compare, report, play, export, resume, reproduce, list, doctor}"),
    ("trian", "trian", "Available subcommands: train, sweep, plan, evaluate"),
    ("train", "ALGORITHM", "ENVIRONMENT", "`metarl list` prints all"),
    ("train mamml cartpole", "did you mean 'maml'?"),
    ("train maml", "ENVIRONMENT", "`metarl list` prints all"),
    ("train maml --gamma 0.5", "'environment'"),
    ("train maml cartpol", "did you mean 'cartpole'?"),
    ("train maml maze --preset tinny", "did you mean 'tiny'?"),
    ("train maml maze --inner-l 3", "--inner-l, 3", "Perhaps you meant", "--inner-lr FLOAT"),
    ("train maml maze --env.siz 3", "--env.siz, 3", "Perhaps you meant", "--env.size INT"),
    ("train maml maze --estimator evolutio", "'evolutio'", "'evolution'"),
    ("train maml maze --estimator reptile --outer ppo", "choose outer=gradient"),
    ("train fomaml maze --estimator lvc", "--estimator"),
    ("train rl2 maze --lr 0.1", "--lr, 0.1", "Perhaps you meant", "--meta-lr FLOAT"),
    ("train maml maze --lr 0.1", "--meta-lr FLOAT", "--inner-lr FLOAT"),
    ("train rl2 maze --preset", "'--preset'"),
    ("train prompt maze", "did you mean 'promp'?"),
    ("train maml maze --gamma fast", "--gamma", "'fast'"),
    ("train maml maze --gamma", "'--gamma'"),
    ("train maml maze --tasks 2.5", "--tasks", "'2.5'"),
    ("train maml maze --tasks 0", "tasks of maml is 0; it must be at least 1"),
    ("train maml maze --gamma 1.5", "1.5"),
    ("train maml maze --lambda 1.5", "1.5"),
    ("train maml maze --lamda 0.5", "--lamda, 0.5", "Perhaps you meant", "--lambda_ FLOAT"),
    ("train maml maze --inner-lr=-1", "-1.0"),
    ("train maml maze --env.size 1", "size is 1"),
    ("train maml maze --meta-steps 0", "meta_steps is 0; it must be at least 1"),
    ("train maml maze surplus", "surplus", "metarl train maml maze --help"),
    ("train q_learning navigation", "q_learning cannot run on navigation"),
    ("train disco navigation", "disco cannot run on navigation"),
    ("train disco catch", "weights of disco is empty", "name the file disco_103.npz"),
    ("train disco catch --weights nowhere.npz", "'nowhere.npz' cannot be read", "name the .npz file"),
    ("train maml maze --seeds 0", "seeds is 0; it must be at least 1"),
    ("train maml maze --seed 4294967295 --seeds 2", "seed is 4294967296"),
    ("sweep", "FILE", "metarl sweep --help"),
    ("sweep maml", "maml is no .toml or .json file"),
    ("sweep nowhere.toml", "nowhere.toml does not exist"),
    ("sweep maml maze --ovr gamma=1", "--ovr"),
    ("sweep maml maze --over metalr=1", "unknown option of maml on maze in over 'metalr'", "did you mean 'meta_lr'?"),
    ("sweep maml maze --over env.sise=1", "did you mean 'env.size'?"),
    ("sweep maml maze --over meta_lr", "'meta_lr'", "--over meta_lr=1e-4,1e-3"),
    ("sweep maml maze --over meta_lr=", "over of meta_lr is empty"),
    ("sweep maml maze --over meta_lr=0.1,fast", "'fast'", "of type float"),
    ("sweep maml maze --over tasks=8,8.5", "8.5", "of type int"),
    ("sweep maml maze --over meta_lr=1,1.0", "over of meta_lr is 1.0, 1.0", "different values"),
    ("sweep maml maze --over gamma=0.5 --over gamma=0.6", "gamma has one already"),
    ("sweep maml maze --over gamma=0.5,1.5", "gamma of maml is 1.5"),
    ("sweep maml maze --over seed=1,2", "give seeds"),
    ("sweep maml maze --seeds 0", "seeds is 0; it must be at least 1"),
    ("sweep maml maze --together 0", "together is 0; it must be at least 1"),
    ("train maml maze --distributed nowhere", "distributed is nowhere; it must be auto, or HOST:PORT"),
    ("train maml maze --distributed here:1 --processes 2", "named with processes and process"),
    ("train maml maze --processes 2", "processes is 2; it must be left out"),
    ("plan", "ALGORITHM", "ENVIRONMENT"),
    ("plan mamml maze", "did you mean 'maml'?"),
    ("plan maml maze --tasks 0", "tasks of maml is 0; it must be at least 1"),
    ("plan maml maze --messure", "--messure", "metarl plan maml maze --help"),
    ("evaluate nowhere", "nowhere is not a run"),
    ("evaluate nowhere --split tset", "did you mean 'test'?"),
    ("evaluate nowhere --tasks 0", "tasks is 0; it must be at least 1"),
    ("evaluate nowhere --tasks 2.5", "--tasks", "'2.5'"),
    ("evaluate", "RUN", "metarl evaluate --help"),
    ("compare", "needs two or more different runs"),
    ("compare nowhere there", "nowhere is not a run"),
    ("compare nowhere --split tset", "did you mean 'test'?"),
    ("report", "a report needs a run"),
    ("report nowhere", "nowhere is not a run"),
    ("report nowhere --split tset", "did you mean 'test'?"),
    ("report nowhere --tasks 0", "tasks is 0; it must be at least 1"),
    ("report nowhere --out .", ". exists, and is not overwritten", "name another with --out"),
    ("report nowhere --out no/folder.html", "no is not a folder; make it, or name another with --out"),
    ("play", "RUN", "metarl play --help"),
    ("play nowhere", "name one file", "--gif FILE.gif or --mp4 FILE.mp4"),
    ("play nowhere --gif a.gif --mp4 a.mp4", "name one file", "--gif FILE.gif or --mp4 FILE.mp4"),
    ("play nowhere --gif film.png", "gif is film.png; it must be named *.gif"),
    ("play nowhere --gif away/film.gif", "away/film.gif", "in an existing folder"),
    ("play nowhere --gif film.gif", "nowhere is not a run"),
    ("play nowhere --gif film.gif --task goal", "'goal'", "name=value,..."),
    ("play nowhere --gif film.gif --task goal=1 --tasks 2", "task", "without --split and --tasks"),
    ("play nowhere --gif film.gif --split tset", "did you mean 'test'?"),
    ("play nowhere --gif film.gif --tasks 0", "tasks is 0; it must be at least 1"),
    ("resume nowhere", "nowhere is not a run"),
    ("resume nowhere --meta-step 3", "--meta-step, 3", "--meta-steps INT", "metarl resume --help"),
    ("export nowhere --out there", "nowhere is not a run"),
    ("export nowhere", "--out"),
    ("reproduce mase", "unknown table 'mase'", "did you mean 'maze'?"),
    ("reproduce navigation", "did you mean 'maml_navigation'?"),
    ("reproduce maze --all", "maze and --all were given; give names, or --all"),
    ("reproduce maze --qick", "--qick", "--quick", "metarl reproduce --help"),
    ("reproduce maze --scripts nowhere", "nowhere has no published.py", "name scripts/ of a checkout"),
    ("list --jsn", "--jsn", "--json", "metarl list --help"),
    ("doctor now", "now"),
    ("train maml maze --tracker tensorbord", "--tracker", "'tensorbord'", "tensorboard"),
    ("train maml maze --from-scratch 3", "3"),
    ("evaluate nowhere --al", "--al", "--all"),
    ("--print-completion", "--print-completion is empty", "bash, zsh, fish"),
    ("--print-completion tcsh", "--print-completion is tcsh", "bash, zsh, fish"),
]


def code_of(words):
    """The exit code of a command, returned by us or raised by tyro."""
    try:
        return main(words)
    except SystemExit as exit:
        return exit.code


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case[0])
def test_wrong_input_ends_with_code_2_the_value_and_the_remedy(case, capsys, tmp_path, monkeypatch):
    command, *said = case
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")  # no sentence is broken into lines
    monkeypatch.setattr(jax, "jit", None)  # nothing may be compiled
    assert code_of(command.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    for words in said:
        assert words in printed.err
    assert "Traceback" not in printed.err
    assert not any(tmp_path.iterdir())


def test_list_names_everything_in_the_agreed_format(capsys):
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in found["algorithms"]] == list(ALGORITHMS)
    assert [entry["name"] for entry in found["environments"]] == list(ENVIRONMENTS)
    assert all(set(entry) == {"name", "summary", "environments"} for entry in found["algorithms"])
    assert [entry["name"] for entry in found["variants"]] == list(VARIANTS)
    assert all(set(entry) == {"name", "summary", "algorithm", "options"} for entry in found["variants"])
    assert all(set(entry) == {"name", "summary", "splits", "reference"} for entry in found["environments"])
    assert all(entry["splits"] == list(SPLITS) for entry in found["environments"])
    assert [entry["name"] for entry in found["adapted"]] == list(ADAPTED)
    accepts = {entry["name"]: entry["environments"] for entry in found["algorithms"]}
    assert "navigation" in accepts["maml"]
    assert "navigation" not in accepts["q_learning"]


def test_a_terminal_gets_a_list_that_fits_and_a_pipe_a_line_each(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    main(["list"])
    piped = capsys.readouterr().out.splitlines()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main(["list"])
    folded = capsys.readouterr().out.splitlines()
    assert max(map(len, folded)) <= 80 < max(map(len, piped))
    assert len(piped) < len(folded)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("--help", "{train,sweep,plan,evaluate,compare,report,play,export,resume,reproduce,list,doctor}"),
        ("train --help", "ALGORITHM ENVIRONMENT"),
        ("train rl2 --help", "ENVIRONMENT"),
        ("evaluate --help", "--split STR"),
        ("list", "gridnavi"),
    ],
)
def test_help_ends_with_code_0(command, said, capsys):
    assert code_of(command.split()) == 0
    assert said in capsys.readouterr().out


def test_help_lists_the_flags_with_the_defaults_of_the_preset(capsys):
    assert code_of(["train", "maml", "maze", "--preset", "tiny", "--help"]) == 0
    printed = capsys.readouterr().out
    for flag in ("--inner-lr FLOAT", "--env.size INT", "--seed INT", "--out", "--hidden"):
        assert flag in printed
    assert "(default: 16 16)" in printed


def test_flags_reach_the_configuration(tmp_path, capsys):
    words = f"train toy maze --tasks 4 --env.size 3 --seed 7 --meta-steps 4 --out {tmp_path / 'run'}"
    words += " --evaluation-tasks 0 --quiet"
    assert main(words.split()) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert (config["algorithm"]["tasks"], config["environment"]["size"]) == (4, 3)
    assert (config["run"]["seed"], config["run"]["meta_steps"]) == (7, 4)


def test_several_trackers_can_be_named(monkeypatch):
    chosen = []
    monkeypatch.setattr(api, "run", lambda config, **how: chosen.append(config.run.tracker))
    monkeypatch.setattr(commands.train, "announce", lambda result, quiet: 0)
    assert main(["train", "toy", "bandit", "--tracker", "tensorboard", "--tracker", "wandb"]) == 0
    assert chosen == [("tensorboard", "wandb")]


@pytest.mark.parametrize("flag", ["--lambda 0.5", "--lambda=0.5", "--lambda_ 0.5"])
def test_the_flag_is_lambda_without_an_underscore(flag, monkeypatch):
    chosen = []
    monkeypatch.setattr(api, "run", lambda config, **how: chosen.append(config))
    monkeypatch.setattr(commands.train, "announce", lambda result, quiet: 0)
    assert main(["train", "rl2", "maze", "--preset", "tiny", *flag.split()]) == 0
    assert chosen == [resolve("rl2", "maze", preset="tiny", lambda_=0.5)]


def test_runs_that_fail_have_their_own_exit_codes(tmp_path, capsys):
    run = tmp_path / "run"
    words = f"train toy bandit --meta-steps 8 --log-every 4 --checkpoint-every 4 --out {run} --quiet"
    words += " --evaluation-tasks 0"
    assert main(words.split()) == 0
    assert main(words.split()) == 2
    assert "never overwritten" in capsys.readouterr().err
    for path in checkpoint.found(run / "checkpoints"):
        (path / "manifest.json").unlink()
    assert main(["evaluate", str(run)]) == 4
    assert main(["resume", str(run)]) == 4
    assert main([*words.replace("/run", "/other").split(), "--breaks-at", "2"]) == 3


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_the_usual_shells(shell, capsys):
    assert not code_of(["--print-completion", shell])
    assert "evaluate" in capsys.readouterr().out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_help_of_every_command_has_an_example(command, capsys):
    assert code_of([command, "--help"]) == 0
    assert f"\n$ metarl {command}" in capsys.readouterr().out


def test_running_the_module_runs_the_command():
    command = [sys.executable, "-m", "metarl_jax", "train", "mamml", "maze"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("metarl: unknown algorithm 'mamml'")


@pytest.mark.parametrize(
    ("code", "slow"),
    [
        ("import metarl_jax", ["jax", "numpy", "flax", "tyro", "rich"]),
        ("import metarl_jax.experiment.api", ["orbax", "matplotlib", "tyro", "gymnax"]),
        ("from metarl_jax.experiment.cli import app\napp.cli(args=['--help'])", ["jax", "numpy", "rich"]),
    ],
    ids=["package", "interface", "help"],
)
def test_nothing_slow_is_imported_before_it_is_needed(code, slow):
    code = f"import atexit, sys; atexit.register(lambda: print([m for m in {slow} if m in sys.modules]))\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]")
