"""`python -m ncrun`, which torchrun starts."""

from ncrun.cli import main

if __name__ == "__main__":
    main()
