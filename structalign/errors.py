"""The error that a user can fix."""


class UserError(Exception):
    """Bad input. The text says what is wrong, names the file, key or value, and says what to do."""
