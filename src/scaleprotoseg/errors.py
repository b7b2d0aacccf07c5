"""The exception for mistakes that the user can fix."""


class UserError(Exception):
    """A mistake in the user's input: a file, a recipe or an argument.

    The message is one line: ``<file or key>: <what is wrong>; <what to do>``. The command line prints it without a
    traceback and exits with a non-zero code.
    """


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's message, or the name of its type if it has no message.

    >>> first_line(ValueError("bad stride\n(while building the model)")), first_line(MemoryError())
    ('bad stride', 'MemoryError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]
