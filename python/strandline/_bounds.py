"""From a query's filter to the offsets that can pass it.

A filter is looked through for what it demands of offset, partition and timestamp: a comparison with a constant, alone
or joined to others by *and*. Whatever else it says bounds nothing, so what is found may let too much through, never too
little: whoever reads applies the whole filter to what was read.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl
    import pyarrow.compute as pc

    from strandline.scan import Scan

# A comparison: a column's name, what it is compared by, and the constant.
Comparison = tuple[str, str, int]

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


@dataclass
class _Bounds:
    """The least and the greatest value that may pass, by what a column shows; moments are milliseconds since 1970."""

    least: dict[str, int] = field(default_factory=dict)
    greatest: dict[str, int] = field(default_factory=dict)

    def add(self, column: str, operator: str, value: int) -> None:
        if operator in (">", ">=", "=="):
            least = value + 1 if operator == ">" else value
            self.least[column] = max(least, self.least.get(column, least))
        if operator in ("<", "<=", "=="):
            greatest = value - 1 if operator == "<" else value
            self.greatest[column] = min(greatest, self.greatest.get(column, greatest))


def narrow(scan: Scan, comparisons: Iterator[Comparison]) -> Scan:
    """Give the scan without offsets that none of the rows which pass can have."""
    shown = dict(scan._native.columns)
    bounds = _Bounds()
    for name, operator, value in comparisons:
        if name in shown:
            bounds.add(shown[name], operator, value)
    first, last = bounds.least.get("offset"), bounds.greatest.get("offset")
    low, high = bounds.least.get("partition"), bounds.greatest.get("partition")
    ranges = {
        partition: (start if first is None else max(start, first), end if last is None else min(end, last + 1))
        for partition, (start, end) in scan.ranges.items()
        if (low is None or partition >= low) and (high is None or partition <= high)
    }
    narrowed = scan.within({partition: (start, end) for partition, (start, end) in ranges.items() if start < end})
    since = bounds.least.get("timestamp")
    return narrowed if since is None else narrowed.since(since)


def of_polars(predicate: pl.Expr) -> Iterator[Comparison]:
    """Find the comparisons in a polars expression."""
    try:
        tree = json.loads(predicate.meta.serialize(format="json"))
    except Exception:
        # The form is polars' own affair; an expression that it cannot tell bounds nothing.
        return
    yield from _of_tree(tree)


_POLARS = {"Gt": ">", "GtEq": ">=", "Lt": "<", "LtEq": "<=", "Eq": "=="}


def _of_tree(tree: Any) -> Iterator[Comparison]:
    match tree:
        case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
            yield from _of_tree(left)
            yield from _of_tree(right)
        case {"BinaryExpr": {"left": {"Column": str(name)}, "op": str(op), "right": {"Literal": literal}}}:
            value = _polars_constant(literal)
            if op in _POLARS and value is not None:
                yield name, _POLARS[op], value
        case {"BinaryExpr": {"left": {"Literal": literal}, "op": str(op), "right": {"Column": str(name)}}}:
            value = _polars_constant(literal)
            if op in _POLARS and value is not None:
                yield name, _MIRRORED[_POLARS[op]], value
        case _:
            return


_INTEGERS = {"Int", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"}
_UNITS = {"Milliseconds": 1, "Microseconds": 1_000, "Nanoseconds": 1_000_000}


def _polars_constant(literal: Any) -> int | None:
    """Read a whole number, or a moment as the millisecond that it lies in."""
    match literal:
        case {"Dyn": {"Int": int(value)}}:
            return value
        case {"Scalar": {"Datetime": [int(value), str(unit), _]}} if unit in _UNITS:
            return value // _UNITS[unit] if value % _UNITS[unit] == 0 else None
        case {"Scalar": dict(scalar)} if len(scalar) == 1:
            [(kind, value)] = scalar.items()
            return value if kind in _INTEGERS and isinstance(value, int) else None
        case _:
            return None


def of_pyarrow(filter: pc.Expression) -> Iterator[Comparison]:
    """Find the comparisons in a pyarrow expression, by what it prints of itself."""
    text = str(filter)
    # Text and bytes as constants could say anything: they are let be.
    if '"' not in text and "'" not in text:
        yield from _of_text(text)


_COMPARISON = re.compile(r"(?P<name>\w+) (?P<operator><=|>=|<|>|==) (?P<value>.+)")


def _of_text(text: str) -> Iterator[Comparison]:
    inside = _unwrapped(text.strip())
    parts = _split(inside, " and ")
    if len(parts) > 1:
        for part in parts:
            yield from _of_text(part)
        return
    found = _COMPARISON.fullmatch(inside)
    value = _pyarrow_constant(found["value"]) if found else None
    if found and value is not None:
        yield found["name"], found["operator"], value


def _unwrapped(text: str) -> str:
    """Take away parentheses that go around all of it."""
    while text.startswith("(") and len(_split(text[1:-1], ")", stray=True)) == 1 and text.endswith(")"):
        text = text[1:-1].strip()
    return text


def _split(text: str, separator: str, *, stray: bool = False) -> list[str]:
    """Split where no parenthesis is open; with `stray`, at those that close what was never opened."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        if depth == 0 and text.startswith(separator, at):
            parts.append(text[start:at])
            at = start = at + len(separator)
            continue
        depth += {"(": 1, ")": -1}.get(text[at], 0) if not (stray and depth == 0 and text[at] == ")") else 0
        at += 1
    return [*parts, text[start:]]


def _pyarrow_constant(text: str) -> int | None:
    """Read a whole number, or a moment of whole milliseconds in UTC."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{3})0*)?Z", text)
    if not found:
        return None
    moment = dt.datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=dt.timezone.utc)
    return int(moment.timestamp()) * 1000 + int(found[2] or 0)
