"""The command line: sub-commands over Hydra. Nothing heavy is imported before it is known to be needed.

Hydra has no sub-commands, so the first word is taken off before Hydra reads the rest; -m, --cfg, --info, -cn and shell
completion are Hydra's own.
"""

import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ncrun.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

    from ncrun.config import RunConfig

HELP = """\
ncrun: train networks to neural collapse, beside the geometry that theory predicts for exactly that run

  ncrun train [KEY=VALUE ...]             train one network; records go to runs/
  ncrun train -m KEY=V1,V2 ...            train a grid of them
  ncrun theory [KEY=VALUE ...] [--json]   what the theorem predicts for that configuration; trains nothing
  ncrun figures [NAME ...] [--scale cpu|real|paper] [--seeds N] [--from DIR] [--list]
                                          draw an experiment's figures, training what is missing
  ncrun plot RUN ... y=METRIC [x=KEY] [hue=KEY]   draw a metric of your own runs over time or over a setting
  ncrun table RUN ... [--format FORMAT]   final numbers of your own runs, a row for each configuration
  ncrun measure FILE.npz [--json]         the same measurements of a network that was trained elsewhere

for example
  ncrun train dataset=cifar10 imbalance=0.1
  ncrun theory dataset=cifar10 imbalance=0.1 head.depth=3
  ncrun train -m experiment=dang2023/mlp-imbalanced scale=cpu

  ncrun train --cfg job    every key with its value     ncrun train --help    the choices of each group
  eval "$(ncrun -sc install=bash)"                      completion of keys and choices in bash
"""
COMMANDS = ("train", "theory", "figures", "plot", "table", "measure")


def main() -> NoReturn:
    """Entry point of the `ncrun` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit status: 0 success, 1 a run diverged or failed, 2 the user's mistake, 70
    a bug of ours, 128+n ended by signal n."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(HELP, end="")
        return 0
    if arguments[0] == "--version":
        from ncrun import __version__

        print(f"ncrun {__version__}")
        return 0
    if arguments[0] in ("-sc", "--shell_completion", "--shell-completion"):
        return _complete(arguments)
    command, rest = arguments[0], arguments[1:]
    # numpy and scipy see small matrices only: threads of theirs fight with torch's, and made L-BFGS 8 times slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if command not in COMMANDS:
        return _refuse(f"{command}: no such command; the commands are {', '.join(COMMANDS)}")
    try:
        if command == "figures":
            from ncrun.figures.command import figures

            return figures(rest)
        if command == "plot":
            from ncrun.figures.plot_command import plot

            return plot(rest)
        if command == "table":
            from ncrun.records.table_command import table

            return table(rest)
        if command == "measure":
            from ncrun.measure_command import measure_file

            return measure_file(rest)
        return _hydra_command(command, rest)
    except UserError as error:
        return _refuse(str(error))
    except BrokenPipeError:
        return _reader_left()
    except KeyboardInterrupt:  # before there is a run to interrupt
        return 128 + signal.SIGINT
    except Exception:  # nobody expects it: a bug of ours
        traceback.print_exc()
        return os.EX_SOFTWARE


def _refuse(message: str) -> int:
    print(f"ncrun: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _reader_left() -> int:
    """The reader of our output, such as `head`, has seen enough: end quietly, as a shell's own tools do."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def config_directory() -> Path:
    """configs/: inside the package in a wheel, beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def _hydra_command(command: str, arguments: list[str]) -> int:
    print_json = command == "theory" and "--json" in arguments
    arguments = [a for a in arguments if not (print_json and a == "--json")]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand exceptions over, to be told in one line here
    import hydra

    from ncrun.compose import check_flags, explain, typed_dataset_wins

    check_flags(arguments)
    is_sweep = "-m" in arguments or "--multirun" in arguments  # then the sweeper sees to each job's data set
    for key in ("jobs", "together"):
        if not is_sweep and any(argument.startswith(f"{key}=") for argument in arguments):
            raise UserError(f"{key}: has no effect without -m")
    sys.argv = [sys.argv[0], *(arguments if is_sweep else typed_dataset_wins(arguments))]
    statuses: list[int] = []
    refusals: list[UserError] = []

    started = False

    def job(config: "DictConfig") -> None:
        nonlocal started
        started = True
        try:
            run = _resolved(config)
            if command == "theory":
                _theory(run, print_json)
            else:
                from ncrun.training.runs import train

                statuses.append(train([run]))
        except BrokenPipeError:
            statuses.append(_reader_left())
        except Exception as error:
            explained = explain(error, composing=False)
            if not isinstance(explained, UserError):
                raise
            refusals.append(explained)  # kept, because Hydra would print the whole command before it
        if statuses and statuses[-1] >= 128:
            sys.exit(statuses[-1])  # a signal ends the whole sweep, not only this job

    def sweep(jobs: "Sequence[tuple[Sequence[str], RunConfig]]") -> None:
        nonlocal started
        started = True
        from ncrun.engines.sweeps import train_sweep

        statuses.append(train_sweep(jobs))

    if command == "train":
        job.preflight = _preflight  # type: ignore[attr-defined]
        job.sweep = sweep  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(prefix="ncrun-") as scratch:
        os.environ["NCRUN_SCRATCH"] = scratch  # where Hydra puts what nobody needs, such as multirun.yaml
        try:
            hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="train")(job)()
        except SystemExit as exit_:  # argparse inside Hydra, or a help text
            return exit_.code if isinstance(exit_.code, int) else 0
        except KeyboardInterrupt:
            return 130
        except Exception as error:
            raise explain(error, composing=not started) from error
    if refusals:
        raise refusals[0]
    return max(statuses, default=0)


def _resolved(config: "DictConfig") -> "RunConfig":
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from ncrun.config import resolve

    with open_dict(config):
        config.hydra = HydraConfig.get()
    return resolve(config)


def _preflight(run: "RunConfig") -> None:
    from ncrun.training.runs import preflight

    preflight(run)


def _theory(run: "RunConfig", print_json: bool) -> None:
    from ncrun.theory import predict
    from ncrun.theory.report import as_json, as_table

    geometry = predict(run.problem())
    if print_json:
        import json

        print(json.dumps(as_json(geometry), indent=1), flush=True)
    else:
        print(as_table(geometry), flush=True)


def _complete(arguments: list[str]) -> int:
    """Bash completion. Hydra's shell function calls `ncrun -sc query=bash` with the line typed so far, sub-command
    and all."""
    line = os.environ.setdefault("COMP_LINE", "")
    words = line.split()
    if "query=bash" in arguments:
        if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
            print(" ".join(COMMANDS))
            return 0
        if words[1] == "plot":
            from ncrun.figures.plot_command import completions

            print(" ".join(completions("" if line.endswith(" ") else words[-1])))
            return 0
        if words[1] not in ("train", "theory"):
            return 0  # the shell completes files
        if words[-1].startswith("experiment="):  # Hydra does not complete choices in sub-folders
            from ncrun.compose import group_options

            print(" ".join(f"experiment={name}" for name in group_options("experiment")))
            return 0
        # Take the sub-command out of the line, and as many characters off the cursor's place in it.
        start = line.index(words[1], len(words[0]))
        removed = len(words[1]) + 1
        os.environ["COMP_LINE"] = line[:start] + line[start + removed :]
        point = int(os.environ.get("COMP_POINT") or len(line))
        os.environ["COMP_POINT"] = str(max(start, point - removed))
    return _hydra_command("train", arguments)


if __name__ == "__main__":
    main()
