"""A run's identity: a hash of everything that decides its numbers. It is part of the directory's name."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ncrun.config.schema import Settings, plain
from ncrun.records.groups import LATER, WITHOUT_EFFECT

# Keys that were added later. They are not part of the identity when they have the value of earlier runs.
ADDED: dict[str, Any] = {"precision": "full", "augment": [], "extend": [], **LATER}


def identity_of(settings: Settings, contents: dict[str, Any]) -> str:
    """settings: with all defaults filled in. contents: by dotted key, the digest of the file that a key names, which
    replaces its path: other content makes another run."""
    tree = plain(settings)
    for key, digest in contents.items():
        *groups, last = key.split(".")
        node = tree
        for group in groups:
            node = node[group]
        node[last] = digest
    kept = {key: value for key, value in tree.items() if key not in WITHOUT_EFFECT}
    for key, value in ADDED.items():
        *groups, last = key.split(".")
        node = kept
        for group in groups:
            node = node[group]
        if node[last] == value:
            del node[last]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:10]


def directory_of(settings: Settings, depth: int, identity: str) -> Path:
    """The run directory: run_dir, or runs/<name>-M<depth>-<identity>."""
    if settings.run_dir is not None:
        return Path(settings.run_dir)
    model, dataset = settings.model.name, settings.dataset
    default = model if dataset is None else f"{dataset.name}-{model}"
    return Path("runs") / f"{settings.name or default}-M{depth}-{identity}"
