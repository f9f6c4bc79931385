"""Command lines without Hydra: argparse, whose errors are one line."""

import argparse
from typing import NoReturn

from ncrun.errors import UserError


class Parser(argparse.ArgumentParser):
    """prog: "ncrun figures" and the like; a mistake is a UserError that names the sub-command."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog.split()[-1]}: {message}")
