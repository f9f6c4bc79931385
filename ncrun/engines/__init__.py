"""Where runs are trained: in this process, or in local worker processes. May import anything but commands and cli."""
