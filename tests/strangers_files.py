"""Files as a stranger may write them: arrays whose headers say what is not there."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np

NETWORK = {
    "features": np.random.default_rng(0).normal(size=(12, 4)),
    "labels": np.arange(12) % 3,
    "classifier": np.random.default_rng(1).normal(size=(3, 4)),
}
IMAGES = {
    "train_images": np.random.default_rng(0).integers(0, 256, (12, 3, 4), dtype=np.uint8),
    "train_labels": np.arange(12) % 3,
}


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def with_header(header: str, content: bytes = b"x" * 96, version: int = 1) -> bytes:
    """An array file of this header, as long as it says."""
    text = header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + content


def declared(shape: str, descr: str = "'<i8'") -> bytes:
    return with_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def encrypted(content: bytes) -> bytes:
    """An archive of one member, marked as encrypted in both of its places."""
    changed = bytearray(content)
    changed[content.index(b"PK\x03\x04") + 6] |= 1
    changed[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)
