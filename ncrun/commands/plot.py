"""`ncrun plot`: draw metrics of users' own runs."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ncrun.commands.changed import warn_of_changed
from ncrun.config.schema import known_keys
from ncrun.errors import UserError, nearest
from ncrun.figures.plot_lines import TIMES, Request
from ncrun.records.groups import OPENED, gather

HELP = """\
ncrun plot RUN ... y=METRIC[,METRIC ...] [OPTION=VALUE ...]

RUN is a run directory, or a folder that holds some; * gives many. Draws a PNG and a PDF.

  y=nc1,gap          columns of metrics.jsonl, a panel each; of class.margin and the like a line for each class
  x=epoch            epoch, step or seconds, or a configuration key such as imbalance or head.depth: then the last
                     measured value is drawn over it (also factor, of runs with path=[...])
  hue=head.depth     the configuration keys that choose a colour; left out: those that tell the runs apart
  style=loss         those that choose a line style
  out=plot.png       where to write the picture
  logx=true|false, logy=true|false
                     left out: logarithmic where all values are positive and span more than a factor of ten

Runs that differ in their seed only become a band from the smallest to the largest, with their mean as a line.
"""
OPTIONS = ("y", "x", "hue", "style", "out", "logx", "logy")


def plot(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status. Raises UserError."""
    if any(word in ("-h", "--help") for word in arguments):
        print(HELP, end="")
        return 0
    folders, options = _parse(arguments)
    if "y" not in options:
        raise UserError("plot: y= is missing; name the metric to draw, such as y=nc1")
    out = _out(options.get("out", "plot.png"))
    logx, logy = (_truth(key, options.get(key)) for key in ("logx", "logy"))
    records = gather(folders)
    warn_of_changed(records)

    from ncrun.figures import panels
    from ncrun.figures.plot import plot_runs

    request = Request(
        y=_list("y", options["y"]),
        x=options.get("x", "epoch"),
        hue=_list("hue", options["hue"]) if "hue" in options else None,
        style=_list("style", options["style"]) if "style" in options else (),
        logx=logx,
        logy=logy,
    )
    panels.use_style()
    told: list[str] = []
    figure = plot_runs(records, request, told.append)
    for line in told:
        print(f"ncrun: {line}", file=sys.stderr)
    try:
        written = panels.save(figure, out)
    except OSError as error:
        raise UserError(f"out={options.get('out')}: cannot be written ({error.strerror})") from error
    print(", ".join(map(str, written)))
    return 0


def completions(word: str) -> list[str]:
    """What may follow in the shell: options, and the configuration keys of x, hue and style. A word that begins like
    none of them is a folder, which the shell completes."""
    option, equals, start = word.partition("=")
    if not equals:
        return [f"{each}=" for each in OPTIONS if word and each.startswith(word)]
    if option not in ("x", "hue", "style"):
        return []
    *before, last = start.split(",")
    kept = ",".join([*before, ""]) if before else ""
    choices = [*(TIMES if option == "x" else ()), *(key for key in known_keys() if key not in OPENED)]
    return [f"{option}={kept}{key}" for key in choices if key.startswith(last)]


def _parse(arguments: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """Folders and options apart; a folder may have a = in its name."""
    folders, options = [], {}
    for word in arguments:
        match = re.fullmatch(r"(\w+)=(.*)", word)
        if match and match[1] in OPTIONS:
            if match[1] in options:
                raise UserError(f"{word}: {match[1]}= is there already; separate several values by commas")
            options[match[1]] = match[2]
        elif word.startswith("-") or (match and not Path(word).exists()):
            key = match[1] if match else word.lstrip("-")
            raise UserError(
                f"{word}: no such option; the options are {', '.join(f'{o}=' for o in OPTIONS)}{nearest(key, OPTIONS)}"
            )
        else:
            folders.append(Path(word))
    return folders, options


def _list(option: str, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if "" in names:
        raise UserError(f"{option}={text}: names nothing; separate names by commas")
    return names


def _truth(option: str, text: str | None) -> bool | None:
    if text not in (None, "true", "false"):
        raise UserError(f"{option}={text}: must be true or false")
    return None if text is None else text == "true"


def _out(text: str) -> Path:
    """The path without its ending. Raises UserError for an ending that is not a picture's, or a folder."""
    path = Path(text)
    if not path.name or path.is_dir():
        raise UserError(f"out={text}: is a folder; name a file")
    if path.suffix not in (".png", ".pdf"):
        raise UserError(f"out={text}: must end in .png or .pdf; both are written")
    return path.with_suffix("")
