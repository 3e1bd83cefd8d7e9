"""Tables that are made up for a measurement."""

import polars as pl

from mmada.contracts.records import Schema

_ZERO = {pl.String: "", pl.Int64: 0, pl.UInt32: 0, pl.Float64: 0.0, pl.Binary: b""}


def filled(table: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The columns of the schema; those that the table lacks hold the type's zero."""
    missing = {name: pl.lit(_ZERO.get(kind, []), kind) for name, kind in schema.items() if name not in table.columns}
    return table.with_columns(**missing).select(pl.col(name).cast(kind) for name, kind in schema.items())
