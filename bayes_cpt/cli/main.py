"""The entry point of the command line: run a command, and exit with a code."""

import sys

import typer

from bayes_cpt.cli.commands import app
from bayes_cpt.cli.output import BAD_INPUT, INTERRUPTED, findings_as_lines
from bayes_cpt.errors import BayesCptError


def main() -> None:
    """Run the command line; exit with 0: done, 1: done but not converged, 2: bad input, 130: interrupted."""
    try:
        with findings_as_lines():
            code = app(standalone_mode=False)
    except BayesCptError as error:
        code = _fail(str(error))
    except typer.TyperException as error:
        message = error.format_message()  # empty if the help was shown
        code = _fail(message) if message else BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # Typer returns this code after Ctrl-C within a command
        print("bayes-cpt: interrupted, nothing was written", file=sys.stderr)
    sys.exit(code or 0)


def _fail(message: str) -> int:
    print(f"bayes-cpt: {message}", file=sys.stderr)
    return BAD_INPUT
