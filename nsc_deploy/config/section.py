"""A table of an experiment file."""

from pydantic import ConfigDict

from nsc_deploy.io.records import Record


class Section(Record):
    """A table of an experiment file: immutable, and unknown fields are refused."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def default_of(section: Section, field: str) -> object:
    """What a field is where nobody sets it; the experiment of a finished run states it all the same."""
    return type(section).model_fields[field].default
