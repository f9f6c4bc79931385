"""The commands that follow `ncrun`, one in each file. They read arguments, call the rooms below, and print."""
