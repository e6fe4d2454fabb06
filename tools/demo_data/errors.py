"""The error that ends the script with a message instead of a traceback."""


class DemoDataError(RuntimeError):
    """A problem that the person who called the script can solve."""
