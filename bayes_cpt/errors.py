"""Errors that users may meet. Each message says what is wrong and what would be right."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class BayesCptError(ValueError):
    """Base class of all errors on input that bayes_cpt cannot work with; the command line exits with code 2.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> try:
    ...     bc.constant(peak=-1e-3, steps=100)
    ... except bc.BayesCptError as error:
    ...     print(error)
    constant: peak must be a number above 0, not -0.001.
    """


class ScheduleError(BayesCptError):
    """A learning-rate schedule with values that are out of range or contradict each other."""


class CurvesError(BayesCptError):
    """Faults of a curve folder or a plan; ``faults`` has all of them.

    Parameters
    ----------
    source
        The folder, file or table that was read.
    faults
        One sentence per fault: file, row, column, value, and what would be right.
    """

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.faults: tuple[str, ...] = tuple(faults)
        super().__init__(listed_faults(source, faults))


class SpecError(BayesCptError):
    """A model file that cannot be read or does not match its law."""


class DataError(BayesCptError):
    """Valid data that do not fit the law, or a request that the data cannot serve."""


class FitFileError(BayesCptError):
    """A fit file that cannot be read or lacks what is needed."""


class SamplingError(BayesCptError):
    """A sampler that did not give the draws it was asked for."""


class ClusterError(BayesCptError):
    """A cluster that cannot be reached, was lost, or cannot do the work."""


class PlausibilityWarning(UserWarning):
    """Curves that are well-formed and hardly right; see `bayes_cpt.findings`.

    Examples
    --------
    >>> import warnings
    >>> import bayes_cpt as bc
    >>> warnings.simplefilter("error", bc.PlausibilityWarning)  # as exceptions  # doctest: +SKIP
    """


LONGEST_PATH = 500
"""Number of characters of a path, or of any other word, that a message shows."""
LONGEST = 60
"""Number of characters of a value that a message shows."""


def quoted(value: object) -> str:
    """Return a value of a user's for a message: quoted if it is text, and cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def path_shown(path: object) -> str:
    """Return a path for a message: cut if no file could have such a long name."""
    text = str(path)
    return text if len(text) <= LONGEST_PATH else f"{text[:LONGEST_PATH]}..."


def listed_faults(source: str, faults: Sequence[str]) -> str:
    """Return a message of all faults of a source, one per line."""
    count = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
    return "\n".join([f"{source}: {count}", *(f"  - {fault}" for fault in faults)])


def readable(message: str) -> str:
    """Return a message in which no word is too long to read: libraries repeat options of any length."""
    return re.sub(rf"(\S{{{LONGEST_PATH}}})\S+", r"\1...", message)


def hint(name: str, options: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` if an option is close to ``name``, else an empty string."""
    if len(name) > LONGEST:  # close names take long to find for long ones
        return ""
    close = get_close_matches(name, list(options), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
