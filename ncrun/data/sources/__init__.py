"""Data sets, one file each: what is known of them, and how their files are read. Torch-free at import."""
