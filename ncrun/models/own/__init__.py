"""A user's own network (model=module): a class in a file, or a model of torchvision or timm by its name. spec.py holds
what is known without building it, source.py builds it, head.py uses its own last layers as the head, sign.py finds the
sign of its features, and trial.py tries it before training."""
