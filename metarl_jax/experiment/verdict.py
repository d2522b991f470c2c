"""What a table of an evaluation says in one sentence: whether its method adapts, from what to what."""

from metarl_jax.experiment.results import RANDOM, REFERENCE, Interval, Row, Table, number

Curve = list[tuple[int, Row]]


def verdict(table: Table, method: str | None = None) -> str:
    """Whether the returns of `method`, by default the first of the table, rise as it adapts, beside the references.

    A change counts if its 95 % interval excludes zero: over seeds if there are several, otherwise over tasks.

    Raises:
        KeyError: the table has no such method, or no returns of it.
    """
    name = table.rows[0].row if method is None else method
    if any(row.row == name and row.value is None and row.note is None and _is_return(row) for row in table.rows):
        return f"{name} has returns that are not finite, so that nothing can be said of it."
    kind = table.axis(name)
    curve = table.curve(name, kind)
    if not curve:
        raise KeyError(f"{table.table} has no returns of {name!r}")
    beside = "; ".join(text for other in (RANDOM, REFERENCE) if other != name and (text := _level(table, other, kind)))
    return f"{name} {_change(table, name, kind, curve)}" + (f" ({beside})." if beside else ".")


def _is_return(row: Row) -> bool:
    return row.column.partition("=")[0] in ("step", "episode") and "," not in row.column


def _change(table: Table, method: str, kind: str, curve: Curve) -> str:
    (start, first), (end, last) = curve[0], curve[-1]
    if len(curve) == 1:
        return f"has a return of {_value(last)}"
    path = f"return {_value(first)} → {_value(last)}"
    low, high = _gain(table, method, first, last)
    if low > 0:
        return f"adapts: {path} by {kind} {end}"
    if high < 0:
        return f"gets worse as it adapts: {path} by {kind} {end}"
    return f"shows no clear change from {kind} {start} to {end}: {path}"


def _gain(table: Table, method: str, first: Row, last: Row) -> Interval:
    """The interval of the gain: paired where the table has it, otherwise between those of its ends."""
    for row in table.rows:
        if (row.row, row.column) == (method, "gain") and row.band is not None:
            return row.band
    low, high = first.band, last.band
    return (high[0] - low[1], high[1] - low[0]) if low is not None and high is not None else (0.0, 0.0)


def _level(table: Table, method: str, kind: str) -> str:
    """The name of a method without gradient steps and its return: in the last episode, or the mean over episodes."""
    value = table.level(method, kind)
    if value is None:
        return ""
    words = table.curve(method, "episode")[-1][1].note if method == REFERENCE else None
    return f"{words or method}: {number(value, 3)}"


def _value(row: Row) -> str:
    return "unknown" if row.value is None else number(row.value, 3)
