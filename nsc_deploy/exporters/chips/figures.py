"""Figures with their sources: what every limit of a chip is made of."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from nsc_deploy.io.records import Record

Count = Annotated[int, Field(ge=0)]
NOT_PUBLISHED = "not published"


class Source(Record):
    """A publication or document that figures are taken from."""

    title: str = Field(min_length=1, description="authors, title, where it appeared")
    year: Annotated[int, Field(ge=1950, le=2100)]
    url: str = ""


class Sourced(Record):
    """Anything that rests on a source.

    Attributes:
        source: name of a source of the chip.
        place: page, section or table in it.
        note: what a reader should know beside the value.
    """

    source: str = ""
    place: str = ""
    note: str = ""

    @property
    def stated(self) -> bool:
        """Whether there is a value that needs a source."""
        return True

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        if self.stated and not (self.source and self.place):
            raise ValueError("needs source and place, since it states a value")
        if not self.stated and not self.note:
            raise ValueError("has no value, so it needs a note that says why (not published, ...)")
        return self


class Figure(Sourced):
    """One number, or the statement that none has been published.

    Attributes:
        value: the number; left out where none has been published.
        lower: a lower number that another publication gives for the same.
    """

    value: Count | None = None
    lower: Count | None = None

    @property
    def stated(self) -> bool:
        """Whether a number has been published."""
        return self.value is not None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower is not None and (self.value is None or self.lower >= self.value):
            raise ValueError("lower must be below value")
        return self


class Figures(Sourced):
    """Several allowed numbers."""

    values: tuple[Count, ...] = Field(min_length=1)


class Allowed(Sourced):
    """A thing the chip can do or not."""

    value: bool


def parts(record: BaseModel, path: str = "") -> Iterator[tuple[str, Sourced]]:
    """Every sourced part of a record, with its dotted name."""
    if isinstance(record, Sourced):
        yield path, record
    for name in type(record).model_fields:
        place = f"{path}.{name}" if path else name
        yield from _inside(getattr(record, name), place)


def _inside(value: object, path: str) -> Iterator[tuple[str, Sourced]]:
    if isinstance(value, BaseModel):
        yield from parts(value, path)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _inside(one, f"{path}.{key}")
    elif isinstance(value, tuple):
        for index, one in enumerate(value):
            yield from _inside(one, f"{path}.{index}")
