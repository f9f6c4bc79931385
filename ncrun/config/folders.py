"""The folders of configurations: ncrun's own and a user's."""

from pathlib import Path

# Further folders in which Hydra looks for groups, such as experiment/; added by --config-dir and extend=.
OWN: list[Path] = []


def config_directory() -> Path:
    """configs/, which is inside the package in a wheel and beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def add_folder(folder: Path) -> None:
    """Makes Hydra look for groups in this folder, too."""
    if folder.absolute() not in OWN:
        OWN.append(folder.absolute())


def experiment_files() -> dict[str, Path]:
    """The file of every experiment by its name, such as dang2023/mlp-imbalanced, sorted by name."""
    roots = [folder / "experiment" for folder in (*reversed(OWN), config_directory())]
    found = {str(file.relative_to(root).with_suffix("")): file for root in roots for file in root.rglob("*.yaml")}
    return dict(sorted(found.items()))


def experiments() -> list[str]:
    """The names of all experiments."""
    return list(experiment_files())
