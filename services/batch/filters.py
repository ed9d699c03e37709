"""Filters as a marketer writes them, `churn high and not segment at risk`: read against what the scores hold.

    filter    = all {"or" all}
    all       = one {"and" one}
    one       = "not" one | "(" filter ")" | condition
    condition = column                          a column of yes and no
              | column value ["tier"]           a band, tier, segment or other text
              | column ("=" | "!=") value
              | column ("=" | "!=" | "<" | "<=" | ">" | ">=") number
              | column "top" number "%"

A column is a name, a word of `WORDS`, or a name in quotes, which means the very column. A value is words or a text in
quotes. Capitals do not matter, but between quotes in text that no model gives.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal, NoReturn

from services.batch.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

WORDS = {
    "churn": "churn_probability",
    "value": "expected_value",
    "segment": "cluster_name",
    "purchase": "purchase_probability",
    "response": "response_probability",
}
"""What marketers call the columns. A category in brackets is kept: `purchase[GROCERY]`."""

BAND = "_band"
"""What a number's column of bands is called, after its own name."""

JOINTS = frozenset({"and", "or", "not"})
OPERATORS = frozenset({"=", "!=", "<", "<=", ">", ">="})

Kind = Literal["number", "text", "flag"]


class FilterError(BatchError):
    """A filter that cannot be understood. Points to the place."""


@dataclass(frozen=True)
class Percent:
    """More than 0 and at most 100."""

    value: Decimal

    def __post_init__(self) -> None:
        """Raises ValueError where it is not."""
        if not 0 < self.value <= 100:  # noqa: PLR2004 - per cent
            raise ValueError(f"{self} is not more than 0% and at most 100%")

    def __str__(self) -> str:
        return f"{self.value:f}%"

    @classmethod
    def read(cls, digits: str) -> Percent:
        """Raises ValueError: that is no number, or not a share."""
        try:
            return cls(Decimal(digits))
        except InvalidOperation:
            raise ValueError(f"{digits} is no number") from None

    def of(self, count: int) -> int:
        """So many of them, rounded up."""
        return math.ceil(self.value * count / 100)


@dataclass(frozen=True)
class Compare:
    """A number's comparison, or whether text is a value."""

    column: str
    operator: str
    value: float | str

    def __str__(self) -> str:
        value = _quoted(self.value) if isinstance(self.value, str) else repr(self.value).removesuffix(".0")
        return f"{_column(self.column)} {self.operator} {value}"


@dataclass(frozen=True)
class Flag:
    """Whether a column says yes."""

    column: str

    def __str__(self) -> str:
        return _column(self.column)


@dataclass(frozen=True)
class Top:
    """Whether a customer is among those with the highest numbers; with equals of the last of them, who are in too."""

    column: str
    percent: Percent

    def __str__(self) -> str:
        return f"{_column(self.column)} top {self.percent}"


@dataclass(frozen=True)
class Not:
    part: Filter

    def __str__(self) -> str:
        return f"not {_within(self.part)}"


@dataclass(frozen=True)
class All:
    """Two parts or more."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " and ".join(map(_within, self.parts))


@dataclass(frozen=True)
class AnyOf:
    """Two parts or more."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " or ".join(map(_within, self.parts))


Condition = Compare | Flag | Top
Filter = Condition | Not | All | AnyOf


@dataclass(frozen=True)
class Terms:
    """What a filter may speak of: the columns, and what occurs in those of text, where that is known."""

    kinds: Mapping[str, Kind]
    values: Mapping[str, Sequence[str]]

    def column(self, name: str) -> str | None:
        """The column that somebody means, if there is one."""
        stem, bracket, category = name.casefold().partition("[")
        return self.exact(WORDS.get(stem, stem) + bracket + category)

    def exact(self, name: str) -> str | None:
        """The column of that name, whatever its capitals."""
        return next((column for column in self.kinds if column.casefold() == name.casefold()), None)

    def listed(self) -> str:
        """All that `column` takes."""
        words = [word for word, column in WORDS.items() if column in self.kinds]
        return ", ".join([*words, *self.kinds])


def read_filter(text: str, terms: Terms) -> Filter:
    """The filter that a text says; `str` of it is a text that says the same.

    Raises:
        FilterError: the text is none, or speaks of what is not there.
    """
    return _Reader(text, terms).read()


def conditions(of: Filter) -> Iterator[Condition]:
    """All that a filter asks, from left to right."""
    match of:
        case Not(part):
            yield from conditions(part)
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from conditions(part)
        case _:
            yield of


def changed(of: Filter, change: Callable[[Condition], Condition]) -> Filter:
    """The same filter with each condition changed."""
    match of:
        case Not(part):
            return Not(changed(part, change))
        case All(parts):
            return All(tuple(changed(part, change) for part in parts))
        case AnyOf(parts):
            return AnyOf(tuple(changed(part, change) for part in parts))
        case _:
            return change(of)


_NAME = re.compile(r"[^\W\d][\w-]*(?:\[[^\]]*\])?")
_TOKEN = re.compile(
    rf"""\s*(?: (?P<number>[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
              | (?P<text>"(?:[^"]|"")*"|'(?:[^']|'')*')
              | (?P<word>{_NAME.pattern})
              | (?P<sign><=|>=|!=|[=<>()%])
              | (?P<end>\Z) )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class _Token:
    """`text` is without quotes; `start` and `end` are its places in the filter, with them."""

    kind: str
    text: str
    start: int
    end: int

    def is_one_of(self, words: frozenset[str]) -> bool:
        return self.kind in {"word", "sign"} and self.text.casefold() in words

    @property
    def is_name(self) -> bool:
        return self.kind == "text" or (self.kind == "word" and not self.is_one_of(JOINTS))


class _Reader:
    """Reads from left to right, a method for each rule of the grammar."""

    def __init__(self, text: str, terms: Terms) -> None:
        self._text = text
        self._terms = terms
        self._tokens = list(self._cut())
        self._at = 0

    def read(self) -> Filter:
        found = self._any()
        if self._next.kind != "end":
            self._complain("here 'and' or 'or' is missing, or this is too much", self._next)
        return found

    def _any(self) -> Filter:
        parts = [self._all()]
        while self._takes("or"):
            parts.append(self._all())
        return AnyOf(tuple(parts)) if len(parts) > 1 else parts[0]

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return All(tuple(parts)) if len(parts) > 1 else parts[0]

    def _one(self) -> Filter:
        if self._takes("not"):
            return Not(self._one())
        if not self._takes("("):
            return self._condition()
        found = self._any()
        if not self._takes(")"):
            self._complain("a ')' is missing", self._next)
        return found

    def _condition(self) -> Condition:
        subject = self._take()
        column = self._column(subject)
        if self._next.is_one_of(frozenset({"top"})) and self._tokens[self._at + 1].kind == "number":
            return self._top(subject, column)
        operator = self._take().text if self._next.is_one_of(OPERATORS) else ""
        if self._next.kind == "number":
            if not operator:
                self._complain(f"write >=, <, = or another comparison after {subject.text}", self._next)
            return self._number(subject, column, operator)
        if operator or self._next.is_name:
            return self._value(subject, column, operator or "=")
        if self._terms.kinds[column] != "flag":
            self._complain(f"say which {subject.text}: {self._example(column)}", subject)
        return Flag(column)

    def _column(self, subject: _Token) -> str:
        if not subject.is_name:
            self._complain(f"a column is missing here; there are {self._terms.listed()}", subject)
        look_up = self._terms.exact if subject.kind == "text" else self._terms.column
        column = look_up(subject.text)
        if column is None:
            self._complain(f"there is no column {subject.text}; {self._remedy(subject.text)}", subject)
        return column

    def _top(self, subject: _Token, column: str) -> Top:
        self._require_number(subject, column)
        self._take()
        number = self._take()
        if not self._takes("%"):
            self._complain(f"a % is missing after {number.text}; so many customers are chosen by --top", number)
        try:
            return Top(column, Percent.read(number.text))
        except ValueError as error:
            self._complain(str(error), number)

    def _number(self, subject: _Token, column: str, operator: str) -> Compare:
        self._require_number(subject, column)
        token = self._take()
        value = float(token.text)
        if math.isinf(value):
            self._complain(f"{token.text} is too large", token)
        return Compare(column, operator, value)

    def _value(self, subject: _Token, column: str, operator: str) -> Compare:
        """One text in quotes, or words up to the end of the condition."""
        if self._terms.kinds[column] == "number" and self._terms.kinds.get(column + BAND) == "text":
            column += BAND
        if self._terms.kinds[column] != "text":
            self._complain(f"{subject.text} is no text: write for example {self._example(column)}", subject)
        if operator not in {"=", "!="}:
            self._complain(f"of text only = and != can be asked, not {operator}", self._tokens[self._at - 1])
        first = self._take()
        if not first.is_name:
            self._complain(f"what is {subject.text} to be? {self._example(column)}", first)
        words = [first]
        while first.kind == "word" and self._next.is_name and self._next.kind == "word":
            words.append(self._take())
        if len(words) > 1 and words[-1].text.casefold() == "tier":
            words.pop()
        text = " ".join(word.text for word in words)
        return Compare(column, operator, self._known(text, column, subject, words))

    def _known(self, text: str, column: str, subject: _Token, words: Sequence[_Token]) -> str:
        """The value as the scores spell it."""
        values = self._terms.values.get(column)
        if values is None or text in values:
            return text
        alike = [value for value in values if value.casefold() == text.casefold()]
        if len(alike) != 1:
            place = _Token("word", text, words[0].start, words[-1].end)
            self._complain(f"{subject.text} is not {text} for anybody here; it is {_either(values)}", place)
        return alike[0]

    def _require_number(self, subject: _Token, column: str) -> None:
        if self._terms.kinds[column] != "number":
            self._complain(f"{subject.text} is no number: write for example {self._example(column)}", subject)

    def _remedy(self, word: str) -> str:
        """A band without its column is the likeliest slip: `churn high or medium`."""
        for column, values in self._terms.values.items():
            for value in values:
                if value.casefold() == word.casefold():
                    return f"write {Compare(column, '=', value)}"
        return f"there are {self._terms.listed()}"

    def _example(self, column: str) -> str:
        if self._terms.kinds.get(column + BAND) == "text":
            column += BAND
        match self._terms.kinds[column]:
            case "number":
                return f"{_column(column)} >= 0.5, or {_column(column)} top 10%"
            case "flag":
                return f"{_column(column)}, or not {_column(column)}"
            case _:
                values = self._terms.values.get(column, ["some text"])
                return " or ".join(str(Compare(column, "=", value)) for value in values)

    def _cut(self) -> Iterator[_Token]:
        at = 0
        while True:
            found = _TOKEN.match(self._text, at)
            if found is None:
                blank = len(self._text) - len(self._text[at:].lstrip())
                self._complain("this is no word, number or plain quote", _Token("", "", blank, blank + 1))
            kind = str(found.lastgroup)
            text, start, at = found[kind], found.start(kind), found.end()
            yield _Token(kind, _bare(text) if kind == "text" else text, start, at)
            if kind == "end":
                return

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _takes(self, word: str) -> bool:
        """Whether the word comes next, which is then read."""
        found = self._next.is_one_of(frozenset({word}))
        if found:
            self._take()
        return found

    def _complain(self, message: str, at: _Token) -> NoReturn:
        line = re.sub(r"\s", " ", self._text)
        raise FilterError(f"{message}\n  {line}\n  {' ' * at.start}{'^' * max(1, at.end - at.start)}")


def _within(part: Filter) -> str:
    """A part of something larger."""
    return f"({part})" if isinstance(part, All | AnyOf) else str(part)


def _column(name: str) -> str:
    taken = name.casefold().partition("[")[0] in WORDS or name.casefold() in JOINTS
    return name if _NAME.fullmatch(name) and not taken else _quoted(name)


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))


def _bare(quoted: str) -> str:
    return quoted[1:-1].replace(quoted[0] * 2, quoted[0])


def _either(values: Sequence[str]) -> str:
    return " or ".join([", ".join(values[:-1]), values[-1]]) if len(values) > 1 else "".join(values) or "not known"
