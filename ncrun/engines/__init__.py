"""Where runs are trained: in this process, in local worker processes, or on a cluster. May import everything except
commands and cli."""
