"""Data sets: what is known of them without reading them, which samples a run takes, and the tensors on the device."""
