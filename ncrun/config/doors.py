"""What Hydra would let a command line or a file do besides setting keys, and the little of it that ncrun allows.

Hydra unpickles files, instantiates what a configuration names and writes where it says. A stranger's experiment must
not have that power over whoever tries it, and what is typed in vain is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import yaml

from ncrun.config.launching import KEYS
from ncrun.errors import UserError, nearest

if TYPE_CHECKING:
    from argparse import Namespace

# What hydra/launcher= and hydra/sweeper= take.
LAUNCHERS = ("ncrun", "slurm")
SWEEPERS = ("ncrun",)
CHOICES: Mapping[str, Sequence[str]] = {"hydra/launcher": LAUNCHERS, "hydra/sweeper": SWEEPERS}
LAUNCHER = "hydra.launcher."
# Hydra's own, which know nothing of checked grids, statuses and runs that continue: what does the same here.
IN_PLACE_OF = {
    "joblib": "jobs=N trains side by side on joblib's workers",
    "submitit_local": "jobs=N trains side by side on this machine",
    "submitit_slurm": "hydra/launcher=slurm submits by submitit",
    "ray": "jobs=N trains side by side on this machine",
    "rq": "hydra/launcher=slurm submits to a cluster",
    "optuna": "let Optuna call ncrun.train, see docs/cluster.md",
    "ax": "let Ax call ncrun.train, as docs/cluster.md shows of Optuna",
    "nevergrad": "let Nevergrad call ncrun.train, as docs/cluster.md shows of Optuna",
}
# The one node of Hydra's that a file may fill: an experiment's grid.
GRID = ("hydra", "sweeper", "params")

# Hydra reads overrides in a time that grows with the square of their length.
LONGEST_OVERRIDE = 20_000
LONGEST_LINE = 60_000
# Of a file of configuration: its bytes, and its values where every reference is written out.
LARGEST_FILE = 1 << 20
MOST_VALUES = 20_000


def check_typed(options: "Namespace") -> None:
    """options: a command line as Hydra's own parser reads it. Raises UserError for what goes in by a side door, and for
    a line so long that reading it would take minutes."""
    if options.experimental_rerun is not None:
        raise UserError("--experimental-rerun: is not allowed, for it runs what is pickled in the file; type the keys")
    if options.config_path is not None:
        raise UserError("--config-path: is not allowed; --config-dir adds a folder of your own experiments")
    check_overrides(options.overrides)


def check_overrides(typed: Sequence[str]) -> None:
    """The same of overrides alone."""
    launcher = launcher_of(typed)
    for override in typed:
        if len(override) > LONGEST_OVERRIDE:
            raise UserError(f"{_key(override)[:100]}: is {len(override)} characters long; at most {LONGEST_OVERRIDE}")
        if _key(override).startswith(LAUNCHER):
            _check_launcher_key(override, launcher)
        else:
            _check_key(_key(override), override.partition("=")[2].strip())
    if sum(map(len, typed)) > LONGEST_LINE:
        raise UserError(f"overrides: are {sum(map(len, typed))} characters together; at most {LONGEST_LINE}")


def launcher_of(typed: Sequence[str]) -> str:
    """What hydra/launcher= is typed last."""
    said = [each.partition("=")[2].strip() for each in typed if _key(each) == "hydra/launcher"]
    return said[-1] if said else LAUNCHERS[0]


def check_file(name: str, group: str, content: bytes) -> None:
    """A user's own file of configuration, before Hydra reads it. name: as users call it. group: as Hydra does, such as
    experiment/mine.

    Raises UserError for a file that is too large, that stands for too many values by references or holds itself, or
    that would set something of Hydra's other than a grid. What is no YAML is left to Hydra, which says where.
    """
    if _is_hydras(group):
        raise UserError(f"{name}: is not allowed: a file of your own cannot be a choice of Hydra's")
    if len(content) > LARGEST_FILE:
        raise UserError(f"{name}: has more than {LARGEST_FILE >> 20} MB; no configuration is that large")
    try:
        text = content.decode()
        tree = yaml.compose(text)
    except (UnicodeDecodeError, yaml.YAMLError):
        return
    number = _values(tree, {}, frozenset())
    if number > MOST_VALUES:
        raise UserError(f"{name}: stands for {number} values, its references written out; at most {MOST_VALUES}")
    package = re.search(r"^#\s*@package\s+(\S+)", text, re.MULTILINE)
    if package is not None and _is_hydras(package[1]):
        raise UserError(f"{name}: @package {package[1]}: is not allowed; only {'.'.join(GRID)} may be set")
    for path in _keys(tree):
        if path[:1] == ("defaults",):
            _check_key(path[-1].removeprefix("override ").strip().lstrip("/"), None, f"{name}: defaults: ")
        elif _is_hydras(".".join(path[:1])) and path[: len(GRID)] != GRID[: len(path)]:
            raise UserError(f"{name}: {'.'.join(path)}: is not allowed; only {'.'.join(GRID)} may be set")


def _key(override: str) -> str:
    return override.strip().lstrip("+~").partition("=")[0].strip()


def _is_hydras(key: str) -> bool:
    """Whether a key, a group or a package is Hydra's own: hydra.run.dir, hydra/launcher, model@hydra.callbacks."""
    return re.search(r"(^|[./@:])hydra($|[./@:])", key) is not None


def _check_launcher_key(override: str, launcher: str) -> None:
    """hydra.launcher.KEY=VALUE, of the launcher that is typed."""
    key, name = _key(override), _key(override).removeprefix(LAUNCHER)
    if launcher != "slurm":
        raise UserError(f"{key}: is not allowed; it needs hydra/launcher=slurm")
    if name not in KEYS and not name.startswith("additional."):
        raise UserError(f"{key}: is not allowed; hydra/launcher=slurm has {', '.join(KEYS)}{nearest(name, KEYS)}")


def _check_key(key: str, value: str | None, where: str = "") -> None:
    """value: None where it is not looked at, and then no key of Hydra's will do."""
    if not _is_hydras(key):
        return
    choices = CHOICES.get(key)
    if choices is None or value is None:
        raise UserError(f"{where}{key}: is not allowed; of Hydra's own keys there are {', '.join(CHOICES)}")
    if value not in choices:
        if value in IN_PLACE_OF:
            raise UserError(f"{where}{key}={value}: is not allowed; {IN_PLACE_OF[value]}")
        raise UserError(f"{where}{key}={value}: not one of {', '.join(choices)}{nearest(value, choices)}")


def _values(node: yaml.Node | None, known: dict[int, int], above: frozenset[int]) -> int:
    """How many values a node stands for. known: of nodes already counted, so that a reference takes no time."""
    if node is None:
        return 0
    if id(node) in above:
        raise UserError("the configuration refers to itself, or is nested too deeply")
    if id(node) not in known:
        within = above | {id(node)}
        known[id(node)] = 1 + sum(_values(child, known, within) for child in _below(node))
    return known[id(node)]


def _below(node: yaml.Node) -> Iterator[yaml.Node]:
    for child in node.value if not isinstance(node, yaml.ScalarNode) else ():
        yield from child if isinstance(child, tuple) else (child,)


def _keys(node: yaml.Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every dotted key of a file, as a tuple; those in lists without their places."""
    for child in node.value if node is not None and not isinstance(node, yaml.ScalarNode) else ():
        if isinstance(child, tuple):
            here = path if child[0].value == "<<" else (*path, str(child[0].value))
            yield here
            yield from _keys(child[1], here)
        else:
            if isinstance(child, yaml.ScalarNode) and path:
                yield (*path, str(child.value))
            yield from _keys(child, path)
