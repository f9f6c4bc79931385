"""`ncrun plot`: draw metrics of your own runs, or the papers' kinds of figures for them."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ncrun.commands.changed import warn_of_changed
from ncrun.config.schema import known_keys
from ncrun.errors import UserError, nearest
from ncrun.figures import DRAWINGS, Drawing
from ncrun.figures.page import CHOICES, FORMATS, Page, page_of
from ncrun.figures.plot_lines import TIMES, Request
from ncrun.metrics import METRICS
from ncrun.records.groups import OPENED, gather
from ncrun.records.read import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELP = """\
ncrun plot RUN ... y=METRIC[,METRIC ...] [OPTION=VALUE ...]
ncrun plot RUN ... kind=KIND [classes=A,B,C] [out=FILE]

RUN is a run directory, or a folder with run directories in it; * gives many. Writes a PNG and a PDF.

  y=nc1,gap          columns of metrics.jsonl, one panel each; class.margin and similar ones have a line for each class
  x=epoch            epoch, step or seconds; or a configuration key such as imbalance or head.depth, against which
                     the last measured value is drawn (also factor, for runs with path=[...])
  hue=head.depth     the configuration keys that choose a colour; default: those in which the runs differ
  style=loss         the configuration keys that choose a line style
  out=plot.png       where to write the figure; its caption goes beside it, into plot.caption.tex
                     (kind=collapse-seen out=x.gif writes an animation)
  logx=true|false, logy=true|false
                     default: logarithmic where all values are positive and span more than a factor of ten

Runs that differ only in their seed become a band from the smallest to the largest, with their mean as a line. Dashed:
the prediction for exactly these runs. Dotted: the distance to the prediction for equal class counts.

For a paper (a section of docs/plots.md):
  width=text         column, text (5.5 in) or a number of inches
  venue=neurips      font and sizes of neurips, icml, iclr, jmlr, aistats, ...
  type=sans          sans or serif; default: serif with venue=, else sans
  format=png,pdf     any of png, pdf, svg, pgf
  caption=true       write the whole caption into the PNG, too

kind= draws finished runs in the style of the papers' figures. The kinds are
"""
OPTIONS = ("kind", "classes", "y", "x", "hue", "style", "out", "logx", "logy", *CHOICES)
MOVING = ".gif"


def plot(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status. Raises UserError."""
    if any(word in ("-h", "--help") for word in arguments):
        print(HELP + "".join(f"  {drawing.key:<20} {drawing.words}\n" for drawing in DRAWINGS), end="")
        return 0
    folders, options = _parse(arguments)
    out, page = _out(options)

    from ncrun.figures import panels, saving

    panels.use_style(page.rc)
    try:
        if out.suffix == MOVING:
            written = _moving(folders, options, out)
        else:
            figure = _of_a_kind(folders, options) if "kind" in options else _of_metrics(folders, options)
            written = saving.save(figure, out, page)
    except OSError as error:
        raise UserError(f"out={options.get('out')}: cannot be written ({error.strerror})") from error
    print(", ".join(map(str, written)))
    return 0


def _of_a_kind(folders: Sequence[Path], options: dict[str, str]) -> "Figure":
    """The drawing of the finished runs. Raises UserError if these runs lack what it needs."""
    drawing, records, chosen = _drawn(folders, options)
    try:
        return drawing.of(records, **chosen)
    except UserError as error:
        raise UserError(f"kind={drawing.key}: {error}") from error


def _moving(folders: Sequence[Path], options: dict[str, str], out: Path) -> list[Path]:
    """Writes an animation of the finished runs; returns the written files. Raises UserError, OSError."""
    if "kind" not in options:
        raise UserError(f"out={out}: only kind=collapse-seen can be animated; others are drawn as .png and .pdf")
    drawing, records, chosen = _drawn(folders, options)
    try:
        drawing.write_moving(records, out, **chosen)
    except UserError as error:
        raise UserError(f"kind={drawing.key}: {error}") from error
    return [out]


def _drawn(folders: Sequence[Path], options: dict[str, str]) -> tuple[Drawing, list[Record], dict[str, str]]:
    """The drawing, the finished runs, and further options. Raises UserError."""
    kind = options["kind"]
    if kind not in DRAWINGS:
        raise UserError(f"kind={kind}: not one of {', '.join(DRAWINGS.keys())}{nearest(kind, DRAWINGS.keys())}")
    drawing = DRAWINGS[kind]
    for key in options:
        if key not in ("kind", "out", *drawing.options, *CHOICES):
            raise UserError(f"{key}={options[key]}: has no effect: kind={kind} says what is drawn")
    records = gather(folders)
    finished = [record for record in records if record.manifest["state"] == "done"]
    if not finished:
        raise UserError(f"kind={kind}: none of these runs is finished; y=METRIC draws unfinished runs, too")
    for record in records:
        if record.manifest["state"] != "done":
            print(f"ncrun: {record.path}: is not finished ({record.manifest['state']}); skipped", file=sys.stderr)
    warn_of_changed(finished)
    return drawing, finished, {key: options[key] for key in drawing.options if key in options}


def _of_metrics(folders: Sequence[Path], options: dict[str, str]) -> "Figure":
    """Columns of metrics.jsonl over time, or over a configuration key."""
    if "y" not in options:
        raise UserError(
            "plot: y= is missing; name the metric to draw, such as y=nc1, or a figure, such as kind=classes"
        )
    if "classes" in options:
        raise UserError(f"classes={options['classes']}: has no effect: y= draws metrics; kind=collapse-seen takes it")
    logx, logy = (_truth(key, options.get(key)) for key in ("logx", "logy"))
    records = gather(folders)
    warn_of_changed(records)

    from ncrun.figures.plot import plot_runs

    request = Request(
        y=_list("y", options["y"]),
        x=options.get("x", "epoch"),
        hue=_list("hue", options["hue"]) if "hue" in options else None,
        style=_list("style", options["style"]) if "style" in options else (),
        logx=logx,
        logy=logy,
    )
    told: list[str] = []
    figure = plot_runs(records, request, told.append)
    for line in told:
        print(f"ncrun: {line}", file=sys.stderr)
    return figure


def completions(word: str, before: str) -> list[str]:
    """Completions for the shell: options, kinds, metrics for y, and configuration keys for x, hue and style. If none
    matches, the shell completes folders."""
    option, equals, start = word.partition("=")
    if not equals:
        return [f"{each}=" for each in OPTIONS if word and each.startswith(word)]
    if option == "kind":
        return [f"kind={key}" for key in [each.key for each in DRAWINGS] if key.startswith(start)]
    if option in CHOICES:
        return [f"{option}={choice}" for choice in CHOICES[option] if choice.startswith(start)]
    if option not in ("y", "x", "hue", "style"):
        return []
    *earlier, last = start.split(",")
    kept = ",".join([*earlier, ""]) if earlier else ""
    choices = [*(TIMES if option == "x" else ()), *(key for key in known_keys() if key not in OPENED)]
    if option == "y":
        choices = METRICS.keys()
    return [f"{option}={kept}{key}" for key in choices if key.startswith(last)]


def _parse(arguments: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """Folders and options; a folder may have a = in its name."""
    folders, options = [], {}
    for word in arguments:
        match = re.fullmatch(r"(\w+)=(.*)", word)
        if match and match[1] in OPTIONS:
            if match[1] in options:
                raise UserError(f"{word}: {match[1]}= is given twice; separate several values by commas")
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


def _out(options: dict[str, str]) -> tuple[Path, Page]:
    """The path without its suffix (an animation keeps it) and the page. Raises UserError for an unknown suffix, for a
    folder, and for an unknown page."""
    text = options.get("out", "plot.png")
    path, said = Path(text), {key: options[key] for key in CHOICES if key in options}
    ending = path.suffix.removeprefix(".")
    if not path.name or path.is_dir():
        raise UserError(f"out={text}: is a folder; name a file")
    if path.suffix == MOVING:
        for key in ("format", "caption"):
            if key in said:
                raise UserError(f"{key}={said[key]}: has no effect on an animation")
        return path, page_of(said)
    if ending not in FORMATS:
        raise UserError(f"out={text}: must end in .png or .pdf (both are written), .svg, .pgf or {MOVING}")
    if "format" not in said and ending not in Page().formats:
        said["format"] = ending
    page = page_of(said)
    if "out" in options and ending not in page.formats:
        raise UserError(f"out={text}: format={said['format']} does not write it")
    return path.with_suffix(""), page
