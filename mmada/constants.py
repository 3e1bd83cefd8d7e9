"""Values of constant expressions such as `2\\sqrt{3}/5 - \\pi`, in microseconds and without a symbolic engine."""

import math
import re
from typing import Final

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?|\.\d+)|(?P<name>\\(?:frac|sqrt|pi|cdot|times|div)(?![a-z]))|(?P<sign>[-+*/^(){}\[\]]))"
)
_MAX_CHARS: Final = 200
_MAX_DEPTH: Final = 20
_MAX_POWER: Final = 1e6
"""Larger intermediate values are left to whoever can bound them."""


class _NoConstantError(Exception):
    """The text is no constant that this module knows."""


def constant_value(text: str) -> float | None:
    """The real value of a LaTeX expression of numbers, +, -, *, /, powers, fractions, roots and pi.

    None for anything else, also for what could be read in two ways: mixed numbers, numbers side by side.
    """
    if len(text) > _MAX_CHARS:
        return None
    try:
        parser = _Parser(_tokens(text))
        value = parser.sum(0)
    except (_NoConstantError, ZeroDivisionError, OverflowError, ValueError):
        return None
    return value if not parser.tokens and math.isfinite(value) else None


def _tokens(text: str) -> list[str]:
    """Tokens, the first one last."""
    found, position = [], 0
    for match in _TOKEN.finditer(text):
        if match.start() != position:
            raise _NoConstantError
        found.append(match[0].strip())
        position = match.end()
    if text[position:].strip():
        raise _NoConstantError
    return found[::-1]


class _Parser:
    """Recursive descent over tokens; every method takes what it reads off the end of `tokens`."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def sum(self, depth: int) -> float:
        value = self._product(depth)
        while self._next() in ("+", "-"):
            value = value + self._product(depth) if self.tokens.pop() == "+" else value - self._product(depth)
        return value

    def _product(self, depth: int) -> float:
        sign = 1.0
        while self._next() in ("+", "-"):
            sign = -sign if self.tokens.pop() == "-" else sign
        last = self._next()
        value = self._power(depth)
        while (token := self._next()) not in ("", "+", "-", ")", "}", "]"):
            if token in ("*", "\\cdot", "\\times"):
                self.tokens.pop()
                last = self._next()
                value *= self._power(depth)
            elif token in ("/", "\\div"):
                self.tokens.pop()
                last = "/"  # 1/2x has two readings
                value /= self._power(depth)
            elif token in ("(", "\\sqrt", "\\pi") and last != "/":
                last = token
                value *= self._power(depth)
            else:
                raise _NoConstantError
        return sign * value

    def _power(self, depth: int) -> float:
        base = self._atom(depth + 1)
        if self._next() != "^":
            return base
        self.tokens.pop()
        exponent = self._argument(depth + 1)
        if base < 0 and not exponent.is_integer():
            raise _NoConstantError
        value = math.pow(base, exponent)
        if abs(value) > _MAX_POWER**2 or self._next() == "^":
            raise _NoConstantError
        return value

    def _atom(self, depth: int) -> float:
        if depth > _MAX_DEPTH:
            raise _NoConstantError
        token = self._take()
        if token == "(":
            value = self.sum(depth)
            self._expect(")")
        elif token == "\\pi":
            value = math.pi
        elif token == "\\frac":
            value = self._argument(depth) / self._argument(depth)
        elif token == "\\sqrt":
            degree = 2.0
            if self._next() == "[":
                self.tokens.pop()
                degree = self.sum(depth)
                self._expect("]")
            value = math.pow(self._argument(depth), 1 / degree)
        else:
            value = _number(token)
        return value

    def _argument(self, depth: int) -> float:
        """A group in braces, or the one digit that LaTeX takes without them."""
        token = self._take()
        if token == "{":
            value = self.sum(depth)
            self._expect("}")
            return value
        if len(token) != 1:
            raise _NoConstantError
        return _number(token)

    def _next(self) -> str:
        return self.tokens[-1] if self.tokens else ""

    def _take(self) -> str:
        if not self.tokens:
            raise _NoConstantError
        return self.tokens.pop()

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise _NoConstantError


def _number(token: str) -> float:
    if not (token[0].isdigit() or token[0] == "."):
        raise _NoConstantError
    return float(token)
