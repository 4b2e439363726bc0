"""Conditions with lists of any length, which are one parameter for the database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.sql.compiler import SQLCompiler

_FEW = 500  # databases have a bound for the parameters of a question, such as 65,535 of PostgreSQL


def among(column: sa.ColumnElement[Any], values: Collection[int] | Collection[str]) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of these values, which are all of its type."""
    if len(values) == 1:
        return column == next(iter(values))
    if len(values) <= _FEW:
        return column.in_(list(values))
    return column.op("IN", is_comparison=True)(_Listed(sa.literal(json.dumps(list(values))), type_=column.type))


class _Listed(FunctionElement[Any]):
    """The elements of a JSON array of numbers or texts, as rows of this type."""

    inherit_cache = True

    def __init__(self, array: sa.ColumnElement[str], *, type_: sa.types.TypeEngine[Any]) -> None:
        super().__init__(array)
        self.type = type_


@compiles(_Listed, "sqlite")
def _of_sqlite(listed: _Listed, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return f"(SELECT value FROM json_each({compiler.process(listed.clauses, **how)}))"  # noqa: S608 - a parameter


@compiles(_Listed, "postgresql")
def _of_postgresql(listed: _Listed, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 - as above
    elements = f"jsonb_array_elements_text(CAST({compiler.process(listed.clauses, **how)} AS JSONB))"
    return f"(SELECT CAST({elements} AS {compiler.dialect.type_compiler_instance.process(listed.type)}))"
