"""Errors whose message is for the person who runs this: one line that names the cure."""


class UserError(Exception):
    """What the user can mend: the value found, what is allowed, and the cure, in one line.

    Each subclass is also the built-in error that a program would catch. The command-line tools end
    at one with its message alone; every other error keeps its traceback, for it is a bug.
    """


class InputError(UserError, ValueError):
    """A value, a file's content or a config that cannot be used."""


class MissingFileError(UserError, FileNotFoundError):
    """A file, folder, package or address that is not there."""


class UnreadableFileError(UserError, OSError):
    """A file that is there and cannot be read or written."""


class ExistingFileError(UserError, FileExistsError):
    """A file that is there already and that nobody allowed to overwrite."""


class NotInstalledError(UserError, ImportError):
    """A package that is missing, or of another version."""


class NonFiniteError(UserError, FloatingPointError):
    """Training has left the numbers: a loss or a weight is infinite or none."""


# EX_TEMPFAIL of the system's sysexits.h: nothing is wrong, start again to go on.
STOPPED_EXIT_CODE = 75
