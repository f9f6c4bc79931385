"""A stranger's network as it is (model=module): a class of a user's own file, or a model of torchvision or timm by its
name. spec.py says what is known of it without building it, source.py makes it, head.py takes its own last layers for
the head, sign.py reads the sign of its features, and trial.py tries it out before it is trained."""
