"""Arithmetic and comparisons as a scenario writes them: `hole <= D + d + A`, `moves <= 2 + log2(1 +
3600 / 60)`.

The names are those of the design's bounds, in seconds:

    h     advertisement interval              L     one call to the API
    D     dead time, h x dead ratio           O     one operation (of those that end)
    d     network and wake-up                 A     L/2 + O: from an attach going out to its effect
    poll  between two looks at an operation   n     the nodes
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.LtE: operator.le,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.Gt: operator.gt,
    ast.Eq: operator.eq,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"log2": math.log2, "max": max, "min": min, "ceil": math.ceil}


class FormulaError(ValueError):
    """A formula that says nothing."""


def evaluate(text: str, names: Mapping[str, float]) -> float:
    """Return what `text` comes to; a comparison comes to True or False."""
    try:
        return _value(ast.parse(text, mode="eval").body, names)
    except (SyntaxError, KeyError) as error:
        raise FormulaError(f"{text!r} says nothing: {error}") from error


def sides(text: str) -> list[str]:
    """Return what stands on the sides of a comparison."""
    comparison = ast.parse(text, mode="eval").body
    if not isinstance(comparison, ast.Compare):
        raise FormulaError(f"{text!r} compares nothing")
    return [ast.unparse(side) for side in (comparison.left, *comparison.comparators)]


def _value(node: ast.AST, names: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_value(operand, names))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, names), _value(right, names))
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_value(side, names) for side in (left, *others)]
            return all(_OPERATORS[type(op)](*pair) for op, *pair in zip(ops, values, values[1:], strict=False))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*(_value(argument, names) for argument in arguments))
    raise KeyError(ast.unparse(node))
