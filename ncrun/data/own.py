"""A user's own data: a folder of images, or an .npz file. Torch-free: theory needs the facts alone.

Both kinds answer `facts` (from names, headers and labels alone), `digest` (SHA-256 of the content, wherever it lies:
runs on changed data are other runs) and `read()` (the training and the test split), or raise UserError, in one line, if
the data are not as they must be.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from ncrun.data.image_folder import ImageFolder
    from ncrun.data.npz import NpzFile

OwnData = Union["ImageFolder", "NpzFile"]


@cache
def own_data(kind: str, path: Path, size: int | None, channels: int | None) -> OwnData:
    """The one object of a process for these data, which looks at them once.

    kind: image_folder or npz. path: absolute. size, channels: what a folder's images are made into.
    """
    # Imported here because Pillow takes a tenth of a second, which every other `ncrun theory` can do without.
    if kind == "npz":
        from ncrun.data.npz import NpzFile

        return NpzFile(path)
    from ncrun.data.image_folder import ImageFolder

    assert size is not None
    assert channels is not None
    return ImageFolder(path, size, channels)
