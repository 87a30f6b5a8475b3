"""What is wrong with a foreign file, as the inner modules say it: without the file's name, which `read` adds.

Thread: any.
"""


class Unreadable(Exception):
    """The file cannot be used. The message is a clause for people, to follow the file's name and a colon."""


MAX_QUOTED_CHARS = 80


def quoted(value: object) -> str:
    """Something from the file, safe to print: control characters escaped, cut to a readable length.

    Containers other than lists of numbers are only named: printing a crafted one could take for ever.
    """
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value[:8]):
        value = str(value[:8])
    elif not isinstance(value, str | int | float | Exception | None):
        value = f"a {type(value).__name__.lower()}"
    shown = str(value)[: MAX_QUOTED_CHARS + 1].encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= MAX_QUOTED_CHARS else shown[: MAX_QUOTED_CHARS - 3] + "..."
