"""The errors a user can meet: each carries a sentence that says what is wrong and what would be right."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class BayesCptError(ValueError):
    """Input or state that bayes_cpt cannot work with; the command line turns it into exit code 2."""


class ScheduleError(BayesCptError):
    """A learning-rate schedule that cannot be."""


class CurvesError(BayesCptError):
    """A curve folder or plan with faults, all of them in ``faults``.

    Parameters
    ----------
    source
        The folder, file or table that was read.
    faults
        One sentence each: file, row, column, value, what would be right.
    """

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.faults: tuple[str, ...] = tuple(faults)
        count = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {fault}" for fault in faults)]))


class SpecError(BayesCptError):
    """A model file that cannot be read, or that does not match its law."""


class DataError(BayesCptError):
    """Data that are sound but do not fit the law or the question asked of them."""


class FitFileError(BayesCptError):
    """A fit file that cannot be read, or that lacks what the question needs."""


class SamplingError(BayesCptError):
    """A sampler that did not give the draws it was asked for."""


def hint(name: str, options: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` where an option is close to ``name``, else an empty string."""
    close = get_close_matches(name, list(options), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
