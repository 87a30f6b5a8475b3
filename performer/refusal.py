"""The one exception that is a message for people: something cannot be played, and why.

Raised before doors open only. The message names the file or thing, the value, what was expected and the remedy; the
command line prints it without a traceback and exits with status 2.
"""


class Refused(Exception):
    """The show cannot begin. The message is for the person at the keyboard."""
