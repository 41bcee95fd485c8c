"""Progress: one line on a terminal, which leaves nothing behind; silence elsewhere."""

import re
import sys
from collections.abc import Iterator
from io import StringIO
from threading import Thread
from types import SimpleNamespace

import pytest
from rich.console import Console

from bayes_cpt._support import progress
from bayes_cpt._support.progress import Status, each_job, live_line, quiet

WIDTH = 60
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ERASED = "\x1b[1A\x1b[2K"
"""Go to the line above, and erase it."""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    monkeypatch.setenv("TERM", "xterm-256color")
    with StringIO() as written:
        yield Console(file=written, force_terminal=True, width=WIDTH, legacy_windows=False)


def written(console: Console) -> str:
    """Return all that was written."""
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def lines(console: Console) -> list[str]:
    """Return the visible text of each time that the line was drawn."""
    return [text for text in re.split(r"[\r\n]+", CONTROL.sub("", written(console))) if text]


def shown(console: Console, *statuses: Status) -> str:
    """Return the line after these statuses."""
    with live_line(console) as report:
        for status in statuses:
            report(status)
    return lines(console)[-1]


def test_nothing_is_written_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # it asks for colours, and makes no terminal of a file
    with live_line() as report:
        report(Status("sampling", 0.5, "R-hat 1.02"))
    assert report is quiet
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("console", [Console(file=StringIO(), force_terminal=False), Console(file=StringIO())])
def test_a_console_that_is_no_terminal_stays_empty(console: Console):
    with live_line(console) as report:
        report(Status("sampling", 0.5))
    assert written(console) == ""


def test_a_terminal_on_stderr_has_the_line_and_stdout_has_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with live_line() as report:
        report(Status("sampling", 0.5, "R-hat 1.02"))
        print("a result")
    out, err = capsys.readouterr()
    assert out == "a result\n"
    assert "sampling" in err


def test_the_line_has_task_share_and_note(terminal: Console):
    line = shown(terminal, Status("sampling", 0.25, "R-hat 1.02, ESS 180"))
    assert re.fullmatch(r"sampling  ━{4}╌{12}  25%  R-hat 1.02, ESS 180", line.strip())


def test_the_time_left_follows_from_the_time_since_the_task_began(terminal: Console, monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(progress, "time", clock)
    with live_line(terminal) as report:
        report(Status("compiling", 0.9))
        clock.monotonic = lambda: 200.0
        report(Status("backtest", 0.0))
        clock.monotonic = lambda: 230.0
        report(Status("backtest", 0.2, "1 of 5"))
    assert lines(terminal)[-1].strip().endswith("20%  1 of 5  2:00 left")


def test_it_is_one_line_that_is_gone_at_the_end(terminal: Console):
    shown(terminal, *(Status("backtest", share, f"{share}") for share in (0.0, 0.5, 1.0)))
    assert written(terminal).count("\n") == 1  # at the end, and taken back
    assert written(terminal).endswith(ERASED)


def test_an_exception_passes_and_the_line_is_gone(terminal: Console):
    def fail() -> None:
        with live_line(terminal) as report:
            report(Status("backtest", 0.5))
            raise ValueError("as it was")

    with pytest.raises(ValueError, match="as it was"):
        fail()
    assert written(terminal).endswith(ERASED)


def test_without_a_status_nothing_is_written(terminal: Console):
    with live_line(terminal):
        pass
    assert written(terminal) == ""


def test_a_status_after_the_end_shows_nothing(terminal: Console):
    with live_line(terminal) as report:
        report(Status("backtest", 0.5))
    before = written(terminal)
    report(Status("backtest", 0.6))
    assert written(terminal) == before


def test_names_are_shown_as_they_are(terminal: Console):
    line = shown(terminal, Status("fit [red]x[/red]", 0.0, "run[bold] :smile:"))
    assert "fit [red]x[/red]" in line
    assert "run[bold] :smile:" in line


@pytest.mark.parametrize("note", ["run " * 100, "日本語" * 40, "two\nlines\tand a \x1b[31mcode " * 9])
@pytest.mark.parametrize("task", ["fit", "a very long task " * 10])
def test_long_names_are_cut_to_one_line(terminal: Console, task: str, note: str):
    line = shown(terminal, Status(task, 0.5, note))
    assert written(terminal).count("\n") == 1
    assert Console(width=WIDTH).measure(line).maximum < WIDTH
    assert "50%" in line
    assert "…" in line


def test_a_narrow_terminal_has_one_line_too(terminal: Console):
    terminal.width = 12
    assert len(shown(terminal, Status("backtest", 0.5, "a note"))) < 12


def test_threads_may_report_at_the_same_time(terminal: Console):
    with live_line(terminal) as report:
        threads = [Thread(target=lambda: [report(Status("fold", share / 50)) for share in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert written(terminal).endswith(ERASED)


def test_jobs_are_counted():
    said: list[Status] = []
    each_job(said.append, "backtest")("replay 0.5", 1, 4)
    assert said == [Status("backtest", 0.25, "1 of 4: replay 0.5")]
