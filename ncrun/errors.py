"""The one exception that ends a command with a single line and exit status 2."""


class UserError(Exception):
    """A mistake that the user can mend; its message is one line that names the key, the value and the choices."""
