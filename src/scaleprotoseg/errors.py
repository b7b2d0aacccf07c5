"""The one exception for what a user can mend."""


class UserError(Exception):
    """A mistake in the user's input: a file, a recipe, an argument.

    The message is one line that names the file (or key), says what is wrong and what to do. The command
    line prints it without a traceback and ends with a non-zero exit code.
    """


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
