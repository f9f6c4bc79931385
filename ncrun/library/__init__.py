"""What Python users call besides `measure`: predictions, finished runs, and training. Thin faces over the rooms below;
their names are handed out by `ncrun` itself."""
