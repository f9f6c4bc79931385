"""Hydra's powers besides setting keys, and the few of them that ncrun allows.

Hydra can unpickle files, instantiate classes that a configuration names, and write where it says. Somebody else's
experiment must not be able to do that. Overrides without effect are refused, too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import yaml

from ncrun.config.launching import KEYS
from ncrun.errors import UserError, nearest

if TYPE_CHECKING:
    from argparse import Namespace

# The values of hydra/launcher= and hydra/sweeper=.
LAUNCHERS = ("ncrun", "slurm")
SWEEPERS = ("ncrun",)
CHOICES: Mapping[str, Sequence[str]] = {"hydra/launcher": LAUNCHERS, "hydra/sweeper": SWEEPERS}
LAUNCHER = "hydra.launcher."
# Hydra's other launchers and sweepers, which do not check grids, return statuses or continue runs; and what to use
# instead.
IN_PLACE_OF = {
    "joblib": "use jobs=N, which trains in joblib's processes",
    "submitit_local": "use jobs=N, which trains several runs at once",
    "submitit_slurm": "use hydra/launcher=slurm, which submits by submitit",
    "ray": "use jobs=N, which trains several runs at once",
    "rq": "use hydra/launcher=slurm, which submits to a cluster",
    "optuna": "call ncrun.train from Optuna, see docs/cluster.md",
    "ax": "call ncrun.train from Ax, as docs/cluster.md shows for Optuna",
    "nevergrad": "call ncrun.train from Nevergrad, as docs/cluster.md shows for Optuna",
}
# The only node of Hydra's that a file may set: an experiment's grid.
GRID = ("hydra", "sweeper", "params")

# The time in which Hydra reads overrides grows with the square of their length.
LONGEST_OVERRIDE = 20_000
LONGEST_LINE = 60_000
# The limits of a configuration file: its bytes, and its values with all references expanded.
LARGEST_FILE = 1 << 20
MOST_VALUES = 20_000


def check_typed(options: "Namespace") -> None:
    """options: a command line as Hydra's parser reads it. Raises UserError for powers that are not allowed, and for a
    line so long that reading it would take minutes."""
    if options.experimental_rerun is not None:
        raise UserError(
            "--experimental-rerun: is not allowed, because it executes a pickled file; give the keys instead"
        )
    if options.config_path is not None:
        raise UserError("--config-path: is not allowed; --config-dir adds a folder with your own experiments")
    check_overrides(options.overrides)


def check_overrides(typed: Sequence[str]) -> None:
    """The same checks for overrides alone."""
    launcher = launcher_of(typed)
    for override in typed:
        if len(override) > LONGEST_OVERRIDE:
            raise UserError(f"{_key(override)[:100]}: has {len(override)} characters; at most {LONGEST_OVERRIDE}")
        if _key(override).startswith(LAUNCHER):
            _check_launcher_key(override, launcher)
        else:
            _check_key(_key(override), override.partition("=")[2].strip())
    if sum(map(len, typed)) > LONGEST_LINE:
        raise UserError(f"overrides: have {sum(map(len, typed))} characters together; at most {LONGEST_LINE}")


def launcher_of(typed: Sequence[str]) -> str:
    """The last value of hydra/launcher=."""
    said = [each.partition("=")[2].strip() for each in typed if _key(each) == "hydra/launcher"]
    return said[-1] if said else LAUNCHERS[0]


def check_file(name: str, group: str, content: bytes) -> None:
    """Checks a user's own configuration file before Hydra reads it. name: for messages. group: Hydra's name, such as
    experiment/mine.

    Raises UserError for a file that is too large, expands to too many values, contains itself, or sets a key of Hydra's
    other than a grid. Invalid YAML is left to Hydra, which reports the position.
    """
    if _is_hydras(group):
        raise UserError(f"{name}: is not allowed: your own file cannot be a choice of a group of Hydra's")
    if len(content) > LARGEST_FILE:
        raise UserError(f"{name}: has more than {LARGEST_FILE >> 20} MB, which is too large for a configuration")
    try:
        text = content.decode()
        tree = yaml.compose(text)
    except (UnicodeDecodeError, yaml.YAMLError):
        return
    number = _values(tree, {}, frozenset())
    if number > MOST_VALUES:
        raise UserError(f"{name}: expands to {number} values with its references; at most {MOST_VALUES}")
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
    """Whether a key, a group or a package is Hydra's own, such as hydra.run.dir, hydra/launcher,
    model@hydra.callbacks."""
    return re.search(r"(^|[./@:])hydra($|[./@:])", key) is not None


def _check_launcher_key(override: str, launcher: str) -> None:
    """Checks hydra.launcher.KEY=VALUE for the given launcher."""
    key, name = _key(override), _key(override).removeprefix(LAUNCHER)
    if launcher != "slurm":
        raise UserError(f"{key}: is not allowed; it needs hydra/launcher=slurm")
    if name not in KEYS and not name.startswith("additional."):
        raise UserError(f"{key}: is not allowed; hydra/launcher=slurm has {', '.join(KEYS)}{nearest(name, KEYS)}")


def _check_key(key: str, value: str | None, where: str = "") -> None:
    """value: None if it is not checked; then no key of Hydra's is allowed."""
    if not _is_hydras(key):
        return
    choices = CHOICES.get(key)
    if choices is None or value is None:
        raise UserError(f"{where}{key}: is not allowed; of Hydra's own keys only {', '.join(CHOICES)} can be set")
    if value not in choices:
        if value in IN_PLACE_OF:
            raise UserError(f"{where}{key}={value}: is not allowed; {IN_PLACE_OF[value]}")
        raise UserError(f"{where}{key}={value}: not one of {', '.join(choices)}{nearest(value, choices)}")


def _values(node: yaml.Node | None, known: dict[int, int], above: frozenset[int]) -> int:
    """The number of values of a node. known: of nodes already counted, so that references take no time."""
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
    """Every dotted key of a file, as a tuple; without indices into lists."""
    for child in node.value if node is not None and not isinstance(node, yaml.ScalarNode) else ():
        if isinstance(child, tuple):
            here = path if child[0].value == "<<" else (*path, str(child[0].value))
            yield here
            yield from _keys(child[1], here)
        else:
            if isinstance(child, yaml.ScalarNode) and path:
                yield (*path, str(child.value))
            yield from _keys(child, path)
