"""The entry point: runs a command, and turns its end into an exit code."""

import sys

import typer

from bayes_cpt.cli.commands import app
from bayes_cpt.cli.output import BAD_INPUT, INTERRUPTED
from bayes_cpt.errors import BayesCptError


def main() -> None:
    """Run the command line: exit 0 done, 1 done but not to be trusted, 2 bad input, 130 interrupted."""
    try:
        code = app(standalone_mode=False)
    except BayesCptError as error:
        code = _fail(str(error))
    except typer.TyperException as error:
        message = error.format_message()  # empty where the help was shown instead
        code = _fail(message) if message else BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # Typer itself turns Ctrl-C within a command into this code
        print("bayes-cpt: interrupted, nothing was written", file=sys.stderr)
    sys.exit(code or 0)


def _fail(message: str) -> int:
    print(f"bayes-cpt: {message}", file=sys.stderr)
    return BAD_INPUT
