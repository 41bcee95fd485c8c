"""The entry point of the command line: run a command, and exit with a code."""

import io
import os
import sys
import warnings

import typer

from bayes_cpt.cli.commands import app, demo
from bayes_cpt.cli.decisions import decide
from bayes_cpt.cli.output import BAD_INPUT, FAULT, INTERRUPTED, findings_as_lines
from bayes_cpt.errors import BayesCptError, readable

app.command()(decide)
app.command()(demo)

DEBUG = "--debug"
"""Option of every command: show where an error arose, and the warnings of libraries."""


def main() -> None:
    """Run the command line, and exit with a code.

    0: done; 1: done but not converged; 2: bad input; 70: a fault of bayes_cpt; 130: interrupted.
    """
    debug = DEBUG in sys.argv[1:]
    if not debug:
        warnings.simplefilter("ignore")  # of libraries: what a user must know is said by messages of bayes_cpt
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may have letters that the terminal lacks
            stream.reconfigure(errors="backslashreplace")
    code = _run([word for word in sys.argv[1:] if word != DEBUG], debug)
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        code = _failed(*_explained(error)) or code
    sys.exit(code)


def _run(words: list[str], debug: bool) -> int:
    """Return the exit code of a command."""
    try:
        with findings_as_lines():
            code = app(words, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except typer.TyperException as error:
        message = error.format_message()  # empty if the help was shown
        return _failed(message) if message else BAD_INPUT
    except Exception as error:
        if debug:
            raise
        return _failed(*_explained(error))
    if code == INTERRUPTED:  # Typer returns this code after Ctrl-C within a command
        print("bayes-cpt: interrupted, nothing was written", file=sys.stderr)
    return code or 0


def _explained(error: Exception) -> tuple[str, int]:
    """Return what to say of an error, and the exit code."""
    if isinstance(error, BayesCptError):
        return str(error), BAD_INPUT
    if isinstance(error, BrokenPipeError):
        return "", 0  # the reader of the output has seen enough, as `head` does
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else "output: "
        return f"cannot read or write {where}{error.strerror or error}", BAD_INPUT
    if isinstance(error, MemoryError):
        return "this needs more memory than there is: use fewer runs, steps or draws", BAD_INPUT
    kind = type(error).__name__
    return f"this is a fault of bayes_cpt ({kind}); run again with {DEBUG} to see where, and please report it", FAULT


def _failed(message: str, code: int = BAD_INPUT) -> int:
    if message:
        print(f"bayes-cpt: {readable(message)}", file=sys.stderr)
    return code
