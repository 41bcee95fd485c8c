"""Progress of long work: one live line on the terminal, and nothing where there is no terminal.

Functions that take long accept a ``Reporter`` and call it with a ``Status``. Only the command line shows them.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

BAR = 16
"""Width of the bar, in characters."""
TOO_EARLY = 2.0
"""Seconds before the time left is shown: the first part of the work says little about the rest."""
REFRESHES = 4
"""Times per second that the line is drawn."""


class Status(NamedTuple):
    """How far a task is.

    Parameters
    ----------
    task
        What is done, for example ``backtest``.
    done
        The share that is done, from 0 to 1.
    note
        More, for example ``R-hat 1.02, ESS 180``.
    """

    task: str
    done: float
    note: str = ""


type Reporter = Callable[[Status], None]
"""What long work calls from time to time; it may be called from any thread."""


def quiet(_status: Status) -> None:
    """Do nothing with a status."""


def each_job(report: Reporter, task: str) -> Callable[[str, int, int], None]:
    """Return a callback that reports how many of a task's jobs are done: name of the last, number done, number of all.

    Parameters
    ----------
    report
        Where statuses go.
    task
        What the jobs are for.
    """

    def done(name: str, count: int, jobs: int) -> None:
        report(Status(task, count / jobs, f"{count} of {jobs}: {name}"))

    return done


@contextmanager
def live_line(console: "Console | None" = None) -> Iterator[Reporter]:
    """Show the last reported status in one line, as long as the context lasts.

    The line appears with the first status, and is removed at the end. Nothing is written if stderr is no terminal.

    Parameters
    ----------
    console
        Where to write; by default stderr.
    """
    if console is None and not sys.stderr.isatty():
        yield quiet
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs Rich
    from rich.live import Live  # noqa: PLC0415

    target = Console(stderr=True) if console is None else console
    if not target.is_terminal or target.is_dumb_terminal:
        yield quiet
        return
    line = _Line(target)
    # stdout is left alone: Rich would send what is printed there to stderr
    live = Live(
        console=target,
        get_renderable=line.text,
        refresh_per_second=REFRESHES,
        transient=True,
        redirect_stdout=False,
    )
    lock, over = Lock(), False

    def report(status: Status) -> None:
        line.change(status)
        with lock:
            if not (over or live.is_started):
                live.start()

    try:
        yield report
    finally:
        with lock:  # a thread that still works must not show the line again
            over = True
            live.stop()


class _Line:
    """The last status, and since when its task runs."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._state = (Status("", 0.0), time.monotonic())  # replaced at once, so that threads see both or neither

    def change(self, status: Status) -> None:
        before, since = self._state
        self._state = (status, since if status.task == before.task else time.monotonic())

    def text(self) -> "Text":
        """Return the line, cut to the width of the terminal."""
        status, since = self._state
        return _text(status, time.monotonic() - since, self._console)


def _text(status: Status, seconds: float, console: "Console") -> "Text":
    from rich.text import Text  # noqa: PLC0415 - a Text is shown as it is: brackets in names are no markup

    share = min(max(status.done, 0.0), 1.0)
    full, empty = "#-" if console.options.ascii_only else "━╌"
    filled = round(BAR * share)
    bar = f"{full * filled}{empty * (BAR - filled)} {share:4.0%}"
    left = f"  {_duration(seconds * (1 - share) / share)} left" if share > 0 and seconds > TOO_EARLY else ""
    task, note = Text(_in_one_line(status.task)), Text(_in_one_line(status.note))
    room = max(console.width - 1 - len(bar) - len(left) - 2, 0)  # a full last column would start a new line
    task.truncate(max(room - note.cell_len - 2, room // 2), overflow="ellipsis")
    note.truncate(max(room - task.cell_len - 2, 0), overflow="ellipsis")
    parts = [task, Text(bar), *([note] if note.cell_len else [])]
    line = Text("  ").join(part for part in parts if part.cell_len)
    line.append(left)
    line.truncate(console.width - 1, overflow="ellipsis")
    line.no_wrap = True
    return line


def _in_one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
