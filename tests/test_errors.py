import pytest

from nsc_deploy.errors import BackendError, ConfigError, DataError, ExportError, GraphError, UserError


@pytest.mark.parametrize(
    ("where", "hint", "message"),
    [
        (None, None, "is broken"),
        ("run/a.nir", None, "run/a.nir: is broken"),
        (None, "Mend it.", "is broken\nMend it."),
        ("run/a.nir", "Mend it.", "run/a.nir: is broken\nMend it."),
    ],
)
def test_message_names_the_place_the_problem_and_the_way_out(
    where: str | None, hint: str | None, message: str
) -> None:
    error = UserError("is broken", where=where, hint=hint)
    assert error.message == str(error) == message


@pytest.mark.parametrize("kind", [BackendError, ConfigError, DataError, ExportError, GraphError])
def test_every_kind_ends_the_command_line_the_same_way(kind: type[UserError]) -> None:
    assert issubclass(kind, UserError)
