from collections.abc import Callable

import pytest

from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.errors import BackendError, ConfigError, DataError, ExportError, GraphError, UserError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.assemble import in_file


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


@pytest.mark.parametrize(
    ("problem", "where", "hint", "in_python"),
    [
        ("is 0", "--host-profile", "Leave it out.", "host_profile: is 0\nLeave it out."),
        ("fails", "g.nir", "Name it: --dt 0.001", "g.nir: fails\nName it: dt=0.001"),
        ("fails", None, "Name it (--dt), or --reset zero.", "fails\nName it (dt), or reset zero."),
        (
            "fails",
            "a--dt",
            "Type nsc-deploy x --dt 1.5 --a b.",
            "a--dt: fails\nType nsc-deploy x --dt 1.5 --a b.",
        ),
        ("fails", None, "nsc-deploy x --dt 1. Or --dt 2", "fails\nnsc-deploy x --dt 1. Or dt=2"),
    ],
)
def test_python_reads_of_arguments_and_the_command_line_of_options(
    problem: str, where: str | None, hint: str, in_python: str
) -> None:
    error = ConfigError(problem, where=where, hint=hint)
    assert str(error) == in_python
    assert error.message == (f"{where}: " if where else "") + f"{problem}\n{hint}"


@pytest.mark.parametrize(
    ("where", "named"), [(None, "run/a.nir"), ("node 'x'", "run/a.nir: node 'x'"), ("run/a.nir", "run/a.nir")]
)
def test_the_file_of_a_graph_is_named_once(where: str | None, named: str) -> None:
    with pytest.raises(GraphError) as caught, in_file("run/a.nir"):
        raise GraphError("is broken", where=where, hint="Mend it.")
    assert (caught.value.where, caught.value.problem, caught.value.hint) == (named, "is broken", "Mend it.")


@pytest.mark.parametrize("kind", [BackendError, ConfigError, DataError, ExportError, GraphError])
def test_every_kind_ends_the_command_line_the_same_way(kind: type[UserError]) -> None:
    assert issubclass(kind, UserError)


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: load_target("loihi3"), "loihi"),
        (lambda: load_profile("lohi"), "loihi"),
        (lambda: load_experiment(None, {"system.name": "ltsm"}), "lstm"),
    ],
)
def test_a_name_that_is_nearly_right_is_taken_up(call: Callable[[], object], meant: str) -> None:
    with pytest.raises(UserError, match=f"did you mean {meant}"):
        call()


def test_a_name_that_is_far_off_is_not() -> None:
    with pytest.raises(UserError) as error:
        load_target("nowhere")
    assert "did you mean" not in error.value.message
