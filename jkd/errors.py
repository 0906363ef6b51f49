"""Mistakes that a user can mend, told in one line."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A user's mistake. The command line prints its message as one line and exits with status 2.

    The message names the mistake, the value given and what would be right.
    """


def nearest(value: str, options: Iterable[str]) -> str:
    """Returns `" (did you mean 'X'?)"` for the option X most like `value`, or the empty string."""
    close = difflib.get_close_matches(value, list(options), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""
