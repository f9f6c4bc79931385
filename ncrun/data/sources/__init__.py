"""Data sets, one file each: facts, and a reader of the files. Torch-free at import."""
