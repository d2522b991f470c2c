"""The command line: metarl train | sweep | plan | evaluate | compare | report | play | export | reproduce | and others.

tyro parses the arguments, prints help and refuses illegal ones with exit code 2; errors that only a command detects are
one sentence. Each command imports the modules with JAX itself, so that help is printed without delay.
"""

import logging
import sys
from collections.abc import Callable, Sequence

import tyro
from tyro.extras import SubcommandApp

from metarl_jax.experiment import streams
from metarl_jax.experiment.commands.describe import doctor, list_names
from metarl_jax.experiment.commands.evaluate import compare, evaluate, report
from metarl_jax.experiment.commands.export import export
from metarl_jax.experiment.commands.plan import plan, plan_with_flags
from metarl_jax.experiment.commands.play import play
from metarl_jax.experiment.commands.reproduce import reproduce
from metarl_jax.experiment.commands.style import STYLE
from metarl_jax.experiment.commands.sweep import sweep, sweep_with_flags
from metarl_jax.experiment.commands.train import is_run, resume, resume_with_flags, train, with_flags
from metarl_jax.experiment.errors import (
    Interrupted,
    StoppedElsewhere,
    TrainingDiverged,
    Unsaved,
    UnusableRun,
    UsageError,
)

SHELLS = ("bash", "zsh", "fish")
DESCRIPTION = """Meta-reinforcement learning as one fused JAX program.

$ metarl train maml navigation --preset tiny    a first run, in less than a minute
$ metarl train rl2 maze --help                  every option of this pair
$ metarl list                                   all algorithms and environments
$ eval "$(metarl --print-completion bash)"      the tab key completes words; also zsh, fish
"""

app = SubcommandApp()
COMMANDS: dict[str, Callable[..., int]] = {}
for command in (train, sweep, plan, evaluate, compare, report, play, export, resume, reproduce, list_names, doctor):
    COMMANDS[command.__name__.removesuffix("_names")] = command
for name, command in COMMANDS.items():
    app.command(name=name, help=(command.__doc__ or "").partition("\n")[0])(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Raises:
        SystemExit: tyro printed help (code 0), or refused the arguments (code 2).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.path += [""] * ("" not in sys.path)  # the user's modules, after those installed
    with streams.standard():
        logging.basicConfig(format="metarl: %(message)s", level=logging.WARNING)
        return _run(words)
    return 0


def _run(words: list[str]) -> int:
    """Run a command; what ends it becomes a sentence and an exit code."""
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except (UsageError, UnusableRun, TrainingDiverged, Unsaved, StoppedElsewhere, Interrupted) as error:
        print(f"metarl: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except ImportError as error:  # a library that was being imported
        if not isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk, a folder that cannot be written
        print(f"metarl: {error}", file=sys.stderr)
        return 1


def _dispatch(words: list[str]) -> int:
    """Dispatch with tyro, except for commands whose options depend on their first arguments."""
    match _with_rule_last(words):
        case ["train", algorithm, environment, *flags] if "-" not in (algorithm[:1], environment[:1]):
            return with_flags(algorithm, environment, flags)
        case ["sweep", algorithm, environment, *flags] if "-" not in (algorithm[:1], environment[:1]):
            return sweep_with_flags(algorithm, environment, flags)
        case ["plan", algorithm, environment, *flags] if "-" not in (algorithm[:1], environment[:1]):
            return plan_with_flags(algorithm, environment, flags)
        case ["train", environment, *flags] if environment[:1] != "-" and _has_rule(flags):
            return with_flags(None, environment, flags)
        case ["resume", run, *flags] if flags and is_run(run):
            return resume_with_flags(run, flags)
        case ["--print-completion", *shell]:
            words = ["--tyro-write-completion", _known_shell(shell), "-"]
        case [name, *flags] if name in COMMANDS:  # whose help has examples
            return int(tyro.cli(COMMANDS[name], prog=f"metarl {name}", args=flags, config=STYLE))
    return int(app.cli(prog="metarl", description=DESCRIPTION, args=words, config=STYLE))


def _known_shell(words: list[str]) -> str:
    if words[:1] not in ([shell] for shell in SHELLS) or len(words) > 1:
        raise UsageError(f"--print-completion is {' '.join(words) or 'empty'}; name one shell of {', '.join(SHELLS)}")
    return words[0]


def _with_rule_last(words: list[str]) -> list[str]:
    """The words of `metarl train --rule RUN ENVIRONMENT` with the names first, as without a rule."""
    match words:
        case ["train", "--rule", rule, *rest]:
            return ["train", *rest, "--rule", rule]
        case ["train", first, *rest] if first.startswith("--rule="):
            return ["train", *rest, first]
    return words


def _has_rule(flags: Sequence[str]) -> bool:
    return any(word.split("=")[0] == "--rule" for word in flags)


if __name__ == "__main__":
    sys.exit(main())
