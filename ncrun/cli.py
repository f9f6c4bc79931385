"""The command line: reads the first word. Heavy imports wait until they are needed."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from ncrun.errors import UserError, printable

HELP = """\
ncrun: train networks to neural collapse, beside the geometry that theory predicts for exactly that run

  ncrun train [KEY=VALUE ...]             train one network; records go to runs/
  ncrun train -m KEY=V1,V2 ...            train a grid of them
  ncrun train dry_run=true ...            the state, the prediction and the cost of each run; trains nothing
  ncrun theory [KEY=VALUE ...] [--json]   what the theorem predicts for this configuration; trains nothing
  ncrun figures [NAME ...] [--scale cpu|real|paper] [--seeds N] [--from DIR] [--list]
                                          train an experiment's missing runs and draw its figures
  ncrun plot RUN ... y=METRIC [x=KEY] [hue=KEY]   draw a metric of your own runs over time or over a key
  ncrun plot RUN ... kind=KIND            draw them in the papers' style: classes, grams, ledger, ...
  ncrun table RUN ... [--format FORMAT]   final numbers of your own runs, one row for each configuration
  ncrun runs [DIR ...] [--state STATE] [--where KEY=VALUE] [--sort NAME] [--json] [--watch]
                                          list every run below a folder: state, progress, last numbers and verdict
  ncrun runs --diff A B                   the differences of two runs
  ncrun runs --rm --state failed          remove the chosen runs
  ncrun rerun RUN [KEY=VALUE ...]         train a recorded configuration again, or with some keys changed
  ncrun report RUN ... [--out FILE] [--serve]     one page about your runs for the browser, or live (--serve)
  ncrun verify RUN ... [--data]           check that the files of finished runs are unchanged
  ncrun measure FILE.npz [--json]         measure a network that was trained elsewhere
  ncrun doctor                            which parts of ncrun work on this machine, and how to fix the others

for example
  ncrun train dataset=cifar10 imbalance=0.1
  ncrun theory dataset=cifar10 imbalance=0.1 head.depth=3
  ncrun train -m experiment=dang2023/mlp-imbalanced scale=cpu

  ncrun train --cfg job    every key with its value and meaning
  ncrun train --help       the choices of each group    ncrun train --help KEY    what a key means
  ncrun train model=module model.path=nets.py:Net ...   your own network, or torchvision:NAME, timm:NAME
  ncrun train extend=[my_lab.py] ...    with your own losses, networks, data sets, metrics, theorems and figures
  eval "$(ncrun -sc install=bash)"                      completion of keys and choices in bash
"""
COMMANDS = ("train", "theory", "figures", "plot", "table", "runs", "rerun", "report", "verify", "measure", "doctor")
LONGEST_MESSAGE = 2000
BUG = 70  # EX_SOFTWARE: neither success nor a mistake that the user can fix


def main() -> NoReturn:
    """Entry point of the `ncrun` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit status: 0 success, 1 a run failed, 2 the user's mistake, 70 a bug in ncrun
    (with its traceback), 128+n ended by signal n."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(HELP, end="")
        return 0
    if arguments[0] == "--version":
        from ncrun import __version__

        print(f"ncrun {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    # numpy and scipy see small matrices only. Their threads compete with torch's, and made L-BFGS 8 times slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _spin_briefly()
    try:
        _refuse_other_text(arguments)
        if command in ("-sc", "--shell_completion", "--shell-completion"):
            from ncrun.commands.completion import complete

            return complete(arguments, COMMANDS)
        if command not in COMMANDS:
            raise UserError(f"{command}: no such command; the commands are {', '.join(COMMANDS)}")
        work: Callable[[Sequence[str]], int] = getattr(import_module(f"ncrun.commands.{command}"), command)
        return work(rest)
    except UserError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # the reader of our output, such as `head`, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:  # before there is a run to interrupt
        return 128 + signal.SIGINT
    except MemoryError:
        return _refuse("out of memory: this machine has too little for this command")
    except OSError as error:  # what the file system refuses is not a bug of ncrun
        if error.filename is None:
            return _bug()
        return _refuse(f"{error.filename}: {error.strerror}")
    except Exception:
        return _bug()


def _spin_briefly() -> None:
    """Threads of GNU's OpenMP, which PyTorch computes with, spin long before they sleep. On a busy machine that takes
    the time from the thread they wait for (docs/speed.md). Read when PyTorch is imported."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def _refuse_other_text(arguments: Sequence[str]) -> None:
    """Raises UserError for bytes that are not UTF-8, because no record could hold them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{argument!a}: is not UTF-8") from error


def _refuse(message: str) -> int:
    """Prints the message as one line of bounded length; returns the exit status."""
    shown = printable(message)
    if len(shown) > LONGEST_MESSAGE:
        shown = f"{shown[: LONGEST_MESSAGE // 2]} ... {shown[-LONGEST_MESSAGE // 2 :]}"
    print(f"ncrun: {shown}", file=sys.stderr)
    return 2


def _bug() -> int:
    """Prints the traceback of the exception that is being handled; returns the exit status."""
    from ncrun.own_file import PREFIX

    traceback.print_exc()
    own = any(name.startswith(PREFIX) for name in sys.modules)
    whose = "ncrun or in your own file" if own else "ncrun, not a mistake of yours"
    print(f"ncrun: this is a bug in {whose}; please report it with the lines above", file=sys.stderr)
    return BUG


if __name__ == "__main__":
    main()
