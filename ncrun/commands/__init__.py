"""What a user types after `ncrun`: one file a command. They read arguments, call the rooms below, and print."""
