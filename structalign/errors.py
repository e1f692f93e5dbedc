"""The one kind of error that a user can mend."""


class UserError(Exception):
    """Bad input: its text is one sentence that names the file, key or value and the way out."""
