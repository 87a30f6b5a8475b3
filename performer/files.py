"""Files that are whole or not there.

Thread: any.
"""

import contextlib
from pathlib import Path

PART = ".part"  # the ending of a file that is being written


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name first, so that what is under its own is whole, or as it was.

    Raises OSError with the name of the file, and leaves nothing then.
    """
    partial = path.with_name(path.name + PART)
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk is told without one
        raise
