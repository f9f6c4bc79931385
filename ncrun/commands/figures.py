"""`ncrun figures`: train the missing runs of experiments, and draw their figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncrun.commands.arguments import Parser, add_page, following, page_of
from ncrun.commands.changed import warn_of_changed
from ncrun.commands.pictures import draw, pictures
from ncrun.config import extensions
from ncrun.config.experiments import SCALES, own_recipes, recipe
from ncrun.config.planning import PlannedJob, plan
from ncrun.engines.places import places
from ncrun.engines.telling import Telling
from ncrun.engines.workers import Ended, train_in_workers
from ncrun.errors import UserError, nearest
from ncrun.figures import FROM_THEORY, THEORY_WORDS, panels
from ncrun.figures.page import CHOICES, Page
from ncrun.records.paper_table import write_tables
from ncrun.records.places import check_place
from ncrun.records.read import Record, find_records
from ncrun.training.cores import available_cores

# An experiment with at most this many runs has its figure redrawn after each run.
REDRAWN_UP_TO = 12


@dataclass(frozen=True)
class Out:
    """The folder of the figures, and the page that they are drawn for."""

    folder: Path
    page: Page


def figures(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status (1 if a run failed). Raises UserError."""
    parser = Parser(prog="ncrun figures", description="Train the missing runs of experiments, and draw their figures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments; default: the core set")
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="cpu",
        help="cpu: digits, a minute for each run; real: the papers' data sets, smaller networks; paper: the authors'",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="redraw from the records under DIR; train nothing",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("figures"), metavar="DIR", help="folder of the figures; default: figures"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=None,
        metavar="N",
        help="number of runs trained at once, with --from of pictures; default: one per core (scale paper: 1 run)",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="train each network with the seeds 0 to N-1; default: 1"
    )
    parser.add_argument("--list", action="store_true", help="list the figures and stop")
    parser.add_argument(
        "--extend",
        action="append",
        default=[],
        metavar="FILE",
        help="your own file that registers losses, models, figures, ...",
    )
    add_page(parser)
    options = parser.parse_args(list(arguments))
    typed = extensions.extended([f"extend=[{','.join(options.extend)}]"] if options.extend else [])
    if options.list:
        _list()
        return 0
    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs={options.jobs}: must be at least 1")
    if options.seeds < 1:
        raise UserError(f"--seeds={options.seeds}: must be at least 1")
    drawn = drawn_experiments()
    names = options.names or _core(drawn)
    for name in names:
        if name not in drawn:
            raise UserError(f"{name}: no such figure; the figures are {', '.join(drawn)}{nearest(name, list(drawn))}")
    out = Out(options.out, page_of(options))
    panels.use_style(out.page.rc)
    if options.source is not None:
        if options.seeds > 1:
            raise UserError(f"--seeds={options.seeds}: has no effect: --from draws every seed in the records")
        return _redraw(names, options.scale, options.source, out, options.jobs or available_cores())
    jobs = options.jobs or (1 if options.scale == "paper" else available_cores())
    trained = [name for name in names if name not in FROM_THEORY]
    needed = [job for name in trained for need in recipe(name).needs for job in plan(need, options.scale, more=typed)]
    if _train(_in_order([job for job in needed if job.summary is None]), jobs):
        return 1
    planned = [job for name in trained for job in plan(name, options.scale, options.seeds, typed)]
    return _train_and_draw(names, options.scale, planned, out, jobs)


def _list() -> None:
    """A line for each name: whether it belongs to the core set, and what it shows."""
    found, recipes = drawn_experiments(), own_recipes()
    width = max(map(len, found))
    for name, core in found.items():
        own = recipes.get(name, {})
        words = THEORY_WORDS.get(name) or own.get("shows") or ", ".join(map(str, own.get("figures") or ()))
        print(f"{name:<{width}}  {'core' if core is not None else '    '}  {words}".rstrip())


def completions(word: str, before: str) -> list[str]:
    """Completions for the shell: names of figures, and options."""
    page = {f"--{key}": () if key == "caption" else choices for key, choices in CHOICES.items()}
    options = {
        "--scale": SCALES,
        **page,
        **dict.fromkeys(("--from", "--out", "--jobs", "--seeds", "--list", "--extend"), ()),
    }
    return following(word, before, options, list(drawn_experiments()))


def _core(drawn: Mapping[str, int | None]) -> list[str]:
    """The names of the core set, in its order."""
    places = {name: core for name, core in drawn.items() if core is not None}
    return sorted(places, key=lambda name: places[name])


def drawn_experiments() -> dict[str, int | None]:
    """Every name that can be drawn, and its place in the core set. An experiment names its figures in its own file,
    never by inheritance, so only that file is read."""
    found: dict[str, int | None] = {}
    for name, own in own_recipes().items():
        if own.get("figures"):
            found[name] = own.get("core")
    return {**found, **dict.fromkeys(FROM_THEORY, len(found))}


def _redraw(names: Sequence[str], scale: str, source: Path, out: Out, jobs: int) -> int:
    check_place(source, "--from")
    places = {name: [name, scale if name in FROM_THEORY else recipe(name).scale(scale)] for name in names}
    records = find_records(source, wanted=lambda manifest: _place_of(manifest) in places.values())
    warn_of_changed(records)
    drawn = {name: [each for each in records if _place_of(each.manifest) == place] for name, place in places.items()}
    for name, (_, here) in places.items():
        if not drawn[name] and name not in FROM_THEORY:
            raise UserError(f"--from={source}: holds no finished run of {name} at scale {here}")
    _draw(drawn, scale, out, jobs)
    _write_tables(drawn, scale, out)
    return 0


def _place_of(manifest: Mapping[str, Any]) -> list[Any]:
    return [manifest.get("experiment"), manifest.get("scale")]


def _train_and_draw(names: Sequence[str], scale: str, planned: Sequence[PlannedJob], out: Out, jobs: int) -> int:
    missing = _in_order([run for run in planned if run.summary is None])
    if len(missing) < len(planned):
        print(f"{len(planned) - len(missing)} of {len(planned)} runs are finished already", flush=True)
    finished = [name for name in names if not any(run.experiment == name for run in missing)]
    _draw({name: _finished(name, planned) for name in finished}, scale, out, jobs)

    def redraw(ended: PlannedJob, left: Sequence[PlannedJob]) -> None:
        if _is_worth_drawing(ended.experiment, left, planned):
            _draw({ended.experiment: _finished(ended.experiment, planned)}, scale, out)

    failed = _train(missing, jobs, redraw)
    _write_tables({name: _finished(name, planned) for name in names}, scale, out)
    return 1 if failed else 0


def _train(
    runs: Sequence[PlannedJob],
    jobs: int,
    ended: Callable[[PlannedJob, Sequence[PlannedJob]], None] = lambda run, left: None,
) -> int:
    """Train runs, `jobs` of them at once; returns how many failed.

    ended: called after each success with that run and those left.
    """
    failed = 0

    if not runs:
        return 0
    at = places([run.job for run in runs], jobs)
    telling, left = Telling([run.job for run in runs], [run.label for run in runs], at_once=len(at)), list(runs)

    def one_ended(index: int, how: Ended) -> None:
        nonlocal failed
        left.remove(runs[index])
        telling.ended(index, how.status, how.seconds, how.message, how.held)
        if how.status:
            failed += 1
        else:
            ended(runs[index], left)

    train_in_workers([run.job for run in runs], at, one_ended)
    return failed


def _in_order(runs: Sequence[PlannedJob]) -> list[PlannedJob]:
    """First the shallowest run of each experiment, so that every figure has a curve early. Then the deepest first: they
    take longest, and no core should wait for them at the end."""
    shallow_first = sorted(runs, key=lambda run: run.job.runs[0].problem.depth)
    leaders: dict[str, PlannedJob] = {}
    for run in shallow_first:
        leaders.setdefault(run.experiment, run)
    rest = [run for run in reversed(shallow_first) if run is not leaders[run.experiment]]
    return [*leaders.values(), *rest]


def _is_worth_drawing(experiment: str, left: Sequence[PlannedJob], planned: Sequence[PlannedJob]) -> bool:
    """A figure of few runs is redrawn after each run, one of many runs at the end."""
    of_it = sum(run.experiment == experiment for run in planned)
    return of_it <= REDRAWN_UP_TO or not any(run.experiment == experiment for run in left)


def _finished(name: str, planned: Sequence[PlannedJob]) -> list[Record]:
    done = [run for run in planned if run.experiment == name and run.summary is not None]
    return [record for run in done for record in run.records()]


def _draw(drawn: Mapping[str, Sequence[Record]], scale: str, out: Out, at_once: int = 1) -> None:
    """Draw experiments, each of its records."""
    wanted = [each for name, records in drawn.items() for each in pictures(name, scale, records, out.folder)]
    draw(wanted, out.page, at_once)


def _write_tables(drawn: dict[str, list[Record]], scale: str, out: Out) -> None:
    """One table for each paper: the final numbers of all its drawn experiments."""
    by_paper: dict[str, list[Record]] = {}
    for name, records in drawn.items():
        by_paper.setdefault(name.split("/")[0], []).extend(records)
    for paper, records in by_paper.items():
        if records:
            written = write_tables(records, out.folder / paper / f"table-{scale}")
            print(f"wrote {written[0]}", flush=True)
