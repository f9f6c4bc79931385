"""The command line: the first word. Nothing heavy is imported before it is known to be needed."""

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
  ncrun train dry_run=true ...            where each run stands, what is predicted and what it would cost; no training
  ncrun theory [KEY=VALUE ...] [--json]   what the theorem predicts for that configuration; trains nothing
  ncrun figures [NAME ...] [--scale cpu|real|paper] [--seeds N] [--from DIR] [--list]
                                          draw an experiment's figures, training what is missing
  ncrun plot RUN ... y=METRIC [x=KEY] [hue=KEY]   draw a metric of your own runs over time or over a setting
  ncrun plot RUN ... kind=KIND            draw them as the papers' figures do: classes, grams, ledger, ...
  ncrun table RUN ... [--format FORMAT]   final numbers of your own runs, a row for each configuration
  ncrun runs [DIR ...] [--state STATE] [--where KEY=VALUE] [--sort NAME] [--json] [--watch]
                                          every run below a folder: its state, progress, last numbers and verdict
  ncrun runs --diff A B                   what two runs differ in;    ncrun runs --rm --state failed   removes runs
  ncrun rerun RUN [KEY=VALUE ...]         train a recorded configuration again, or with some keys changed
  ncrun report RUN ... [--out FILE] [--serve]     a page of your runs for the browser, without a network; or live
  ncrun verify RUN ... [--data]           whether the files of finished runs are as they were written
  ncrun measure FILE.npz [--json]         the same measurements of a network that was trained elsewhere
  ncrun doctor                            what of ncrun works on this machine, and what to do about the rest

for example
  ncrun train dataset=cifar10 imbalance=0.1
  ncrun theory dataset=cifar10 imbalance=0.1 head.depth=3
  ncrun train -m experiment=dang2023/mlp-imbalanced scale=cpu

  ncrun train --cfg job    every key with its value and meaning
  ncrun train --help       the choices of each group    ncrun train --help KEY    what a key means
  ncrun train model=module model.path=nets.py:Net ...   your own network as it is, or torchvision:NAME, timm:NAME
  ncrun train extend=[my_lab.py] ...    with your own losses, networks, data sets, metrics, theorems and figures
  eval "$(ncrun -sc install=bash)"                      completion of keys and choices in bash
"""
COMMANDS = ("train", "theory", "figures", "plot", "table", "runs", "rerun", "report", "verify", "measure", "doctor")
LONGEST_MESSAGE = 2000
BUG = 70  # EX_SOFTWARE: neither success nor a mistake that the user can mend


def main() -> NoReturn:
    """Entry point of the `ncrun` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit status: 0 success, 1 a run failed, 2 the user's mistake, 70 a fault of
    ncrun (with its traceback), 128+n ended by signal n."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(HELP, end="")
        return 0
    if arguments[0] == "--version":
        from ncrun import __version__

        print(f"ncrun {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    # numpy and scipy see small matrices only: threads of theirs fight with torch's, and made L-BFGS 8 times slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:  # before there is a run to interrupt
        return 128 + signal.SIGINT
    except MemoryError:
        return _refuse("out of memory: this machine has not enough for what was typed")
    except OSError as error:  # what the file system refuses is no fault of ours
        if error.filename is None:
            return _bug()
        return _refuse(f"{error.filename}: {error.strerror}")
    except Exception:
        return _bug()


def _refuse_other_text(arguments: Sequence[str]) -> None:
    """Raises UserError for bytes that are no UTF-8: no record could name them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{argument!a}: is not UTF-8") from error


def _refuse(message: str) -> int:
    """One line of a length that can be read, whatever is in the message; returns the exit status."""
    shown = printable(message)
    if len(shown) > LONGEST_MESSAGE:
        shown = f"{shown[: LONGEST_MESSAGE // 2]} ... {shown[-LONGEST_MESSAGE // 2 :]}"
    print(f"ncrun: {shown}", file=sys.stderr)
    return 2


def _bug() -> int:
    """To be called where an exception is handled; returns the exit status."""
    from ncrun.own_file import PREFIX

    traceback.print_exc()
    own = any(name.startswith(PREFIX) for name in sys.modules)
    whose = "ncrun, or of your own file" if own else "ncrun, not of what you typed"
    print(f"ncrun: this is a fault of {whose}; please report it with the lines above", file=sys.stderr)
    return BUG


if __name__ == "__main__":
    main()
