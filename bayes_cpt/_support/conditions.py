"""Conditions on the rows of a table, such as ``model_size == 332448 and replay < 0.5``: parsed and applied, never run.

The grammar::

    condition  = all ("or" all)*
    all        = one ("and" one)*
    one        = "not" one | "(" condition ")" | compared
    compared   = operand (("==" | "!=" | "<" | "<=" | ">" | ">=") operand)+ | operand ["not"] "in" "[" operand, ... "]"
    operand    = a column, `a column with spaces`, a number, or a string in quotes

``&``, ``|`` and ``~`` are read as and, or and not; round brackets may enclose a list too.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayes_cpt.errors import DataError, hint, quoted

LONGEST = 1_000
"""Number of characters of the longest condition."""
DEEPEST = 40
"""Number of brackets and nots within each other."""

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
SYNONYMS = {"&": "and", "|": "or", "~": "not"}
WORDS = {"and", "or", "not", "in"}
TOKEN = re.compile(
    r"""\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))|(?P<string>'[^']*'|"[^"]*")"""
    r"""|(?P<quoted>`[^`]+`)|(?P<word>[^\W\d]\w*)|(?P<sign>==|!=|<=|>=|[<>()\[\],&|~]))"""
)

type Mask = NDArray[np.bool_]


class Token(NamedTuple):
    """A token: its kind (number, string, column, or the word or sign itself), and its value."""

    kind: str
    value: str


class Column(NamedTuple):
    """Values of an operand: numbers (NaN if missing) or text ("" if missing), and how a message calls it."""

    values: Any
    is_text: bool
    name: str


def matching(table: pd.DataFrame, condition: str) -> Mask:
    """Return which rows of a table match a condition.

    A missing number equals nothing; missing text equals the empty string.

    Parameters
    ----------
    table
        The table; its index counts as a column if it has a name.
    condition
        See above.

    Returns
    -------
    array (rows,) of bool

    Raises
    ------
    DataError
        If the condition cannot be read, names a column that is not there, or compares text with numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"phase": ["pt", "cpt", "cpt"], "replay": [None, 0.0, 0.5]})
    >>> matching(table, "phase == 'cpt' and replay < 0.2").tolist()
    [False, True, False]
    """
    named = table.reset_index() if table.index.name else table
    reader = _Reader(_tokens(condition), named)
    found = reader.condition(0)
    if reader.kind != "end":
        raise reader.fault("and, or, or the end")
    return found


def _tokens(text: str) -> list[Token]:
    if len(text) > LONGEST:
        raise DataError(f"it has {len(text):,} characters; at most {LONGEST:,} are read")
    tokens, place = [], 0
    while place < len(text.rstrip()):
        found = TOKEN.match(text, place)
        if found is None:
            raise DataError(_unreadable(text, place))
        place = found.end()
        tokens.append(_token(str(found.lastgroup), found[str(found.lastgroup)]))
    return [*tokens, Token("end", "its end")]


def _token(group: str, text: str) -> Token:
    if group in {"string", "quoted"}:
        return Token("string" if group == "string" else "column", text[1:-1])
    text = SYNONYMS.get(text, text)
    if group == "number":
        return Token("number", text)
    return Token(text if group == "sign" or text in WORDS else "column", text)


def _unreadable(text: str, place: int) -> str:
    rest = text[place:].strip()
    if rest.startswith("=") and not rest.startswith("=="):
        return f"it cannot be read at {quoted(rest)}: equality is written =="
    return (
        f"it cannot be read at {quoted(rest)}: use columns, numbers, strings in quotes, "
        f"{', '.join(COMPARISONS)}, in, and, or, not and brackets"
    )


class _Reader:
    """Reads tokens from left to right, and evaluates on the way."""

    def __init__(self, tokens: Sequence[Token], table: pd.DataFrame) -> None:
        self.tokens, self.table, self.place = tokens, table, 0

    @property
    def kind(self) -> str:
        return self.tokens[self.place].kind

    def fault(self, needed: str) -> DataError:
        return DataError(f"{needed} must come before {quoted(self.tokens[self.place].value)}")

    def take(self, *kinds: str) -> Token | None:
        """Return the next token if it is of one of these kinds."""
        if self.kind not in kinds:
            return None
        self.place += 1
        return self.tokens[self.place - 1]

    def condition(self, depth: int) -> Mask:
        if depth > DEEPEST:
            raise DataError(f"it has more than {DEEPEST} brackets and nots within each other")
        found = self.all_of(depth)
        while self.take("or"):
            found = found | self.all_of(depth)
        return found

    def all_of(self, depth: int) -> Mask:
        found = self.one(depth)
        while self.take("and"):
            found = found & self.one(depth)
        return found

    def one(self, depth: int) -> Mask:
        if self.take("not"):
            if depth >= DEEPEST:
                return self.condition(depth + 1)  # refuses
            return ~self.one(depth + 1)
        if self.take("("):
            found = self.condition(depth + 1)
            if not self.take(")"):
                raise self.fault("a closing bracket")
            return found
        return self.compared()

    def compared(self) -> Mask:
        left = self.operand()
        negated = bool(self.take("not"))
        if self.take("in"):
            found = self.among(left)
            return ~found if negated else found
        if negated or self.kind not in COMPARISONS:
            raise self.fault("a comparison (==, !=, <, <=, >, >=, in)")
        found = np.ones(len(self.table), dtype=bool)
        while sign := self.take(*COMPARISONS):
            right = self.operand()
            found &= _compared(left, sign.value, right, len(self.table))
            left = right
        return found

    def among(self, left: Column) -> Mask:
        opened = self.take("[", "(")
        if opened is None:
            raise self.fault("a list in brackets")
        found = np.zeros(len(self.table), dtype=bool)
        closing = {"[": "]", "(": ")"}[opened.value]
        while not self.take(closing):
            found |= _compared(left, "==", self.operand(), len(self.table))
            if not self.take(",") and self.kind != closing:
                raise self.fault("a comma or a closing bracket")
        return found

    def operand(self) -> Column:
        token = self.take("number", "string", "column")
        if token is None:
            raise self.fault("a column, a number or a string")
        if token.kind == "number":
            return Column(float(token.value), False, token.value)
        if token.kind == "string":
            return Column(token.value, True, quoted(token.value))
        return self.column(token.value)

    def column(self, name: str) -> Column:
        columns = [str(column) for column in self.table.columns]
        if name not in columns:
            raise DataError(f"there is no column {quoted(name)}{hint(name, columns)}; text stands in quotes")
        values = self.table.iloc[:, columns.index(name)]
        if pd.api.types.is_numeric_dtype(values):
            return Column(values.to_numpy(float, na_value=np.nan), False, name)
        return Column(values.astype(object).where(values.notna(), "").astype(str).to_numpy(object), True, name)


def _compared(left: Column, sign: str, right: Column, rows: int) -> Mask:
    if left.is_text != right.is_text:
        text, number = (left, right) if left.is_text else (right, left)
        raise DataError(f"{text.name} is text and {number.name} a number: numbers stand without quotes, text in quotes")
    if left.is_text and sign not in {"==", "!="}:
        raise DataError(f"{left.name} is text, which can be compared with ==, != and in, not with {sign}")
    return np.broadcast_to(np.asarray(COMPARISONS[sign](left.values, right.values), dtype=bool), rows)
