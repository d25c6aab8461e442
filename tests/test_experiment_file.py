import tomllib
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from nsc_deploy.config.families import FAMILIES
from nsc_deploy.config.speech import OWN_SETTINGS, ReceiverKind, SpeechExperiment, SystemName, TrainingConfig
from nsc_deploy.errors import ConfigError
from nsc_deploy.experiment_file import (
    differing_fields,
    experiment_text,
    load_experiment,
    parse_assignment,
    write_experiment,
)

EXAMPLES = Path(__file__).parents[1] / "examples"


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


def test_what_a_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    experiment = load_experiment(written(tmp_path, "[training]\nepochs = 7\n"))
    assert experiment.training.epochs == 7
    assert experiment == SpeechExperiment.model_validate({"training": {"epochs": 7}})


def test_overrides_replace_what_the_file_says(tmp_path: Path) -> None:
    path = written(tmp_path, '[training]\nepochs = 7\nseed = 4\n[system]\nname = "lstm"\n')
    experiment = load_experiment(path, {"training.epochs": 9, "channel.snr_db": -10.0})
    assert (experiment.training.epochs, experiment.training.seed) == (9, 4)
    assert (experiment.channel.snr_db, experiment.system.name) == (-10.0, "lstm")


@settings(max_examples=25, deadline=None)
@given(
    epochs=st.integers(1, 100_000),
    rate=st.floats(1e-9, 10, allow_nan=False),
    snr=st.floats(-100, 400),
    name=st.sampled_from(["att-neurosc", "vanilla-snn", "fc", "lstm", "qnn", "gru", "ds-cnn", "sscc"]),
    speaker=st.none()
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20),
)
def test_a_written_experiment_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    epochs: int,
    rate: float,
    snr: float,
    name: str,
    speaker: str | None,
) -> None:
    split = "official" if speaker is None else "leave-one-speaker-out"
    experiment = SpeechExperiment.model_validate(
        {
            "training": {"epochs": epochs, "learning_rate": rate},
            "channel": {"snr_db": snr},
            "system": {"name": name},
            "data": {"dataset": "fsdd", "split": split, "speaker": speaker},
        }
    )
    path = tmp_path_factory.mktemp("toml") / "experiment.toml"
    write_experiment(path, experiment)
    assert load_experiment(path) == experiment


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_not_set_is_not_set_when_it_is_read_again(family: type[BaseModel]) -> None:
    """TOML has no null: a field that may be none and has another default would come back as the default."""

    def lost(model: type[BaseModel]) -> list[str]:
        names = []
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                names += lost(field.annotation)
            elif type(None) in get_args(field.annotation) and field.default is not None:
                names.append(name)
        return names

    assert lost(family) == []


def test_every_field_says_what_it_is() -> None:
    def missing(model: type[BaseModel], prefix: str = "") -> list[str]:
        names = []
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                names += missing(field.annotation, f"{prefix}{name}.")
            elif not field.description:
                names.append(prefix + name)
        return names

    assert missing(SpeechExperiment) == []
    text = experiment_text(SpeechExperiment())
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) >= len([line for line in text.splitlines() if "=" in line and line[0] != "#"])
    assert tomllib.loads(text)["training"]["epochs"] == SpeechExperiment().training.epochs


@pytest.mark.parametrize(
    ("text", "field", "suggestion"),
    [
        ("[training]\nepoch = 3\n", "training.epoch", "epochs"),
        ("[training]\nlearning-rate = 0.1\n", "training.learning-rate", "learning_rate"),
        ('[sytem]\nname = "fc"\n', "sytem", "system"),
        ("[data.encoding]\nband = 3\n", "data.encoding.band", "bands"),
        ("[training]\nsnr_db = 3\n", "training.snr_db", "channel.snr_db"),
        ("[training]\nqqqqq = 3\n", "training.qqqqq", "batch_size"),
    ],
)
def test_a_typo_names_file_field_and_nearest_valid_name(
    tmp_path: Path, text: str, field: str, suggestion: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert caught.value.where == f"{path}, field {field}"
    assert suggestion in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[training]\nepochs = 0\n", "training.epochs"),
        ('[training]\nepochs = "many"\n', "training.epochs"),
        ("[training]\nlearning_rate = -1.0\n", "training.learning_rate"),
        ("[training]\nlearning_rate = nan\n", "training.learning_rate"),
        ('[system]\nname = "transformer"\n', "system.name"),
        ("[channel]\nsnr_db = inf\n", "channel.snr_db"),
        ("[channel]\ntaps = 0\n", "channel.taps"),
        ("training = 3\n", "training"),
        ("[training]\nbatch_size = 63\ndevices = 2\n", "training"),
        ("[training]\nvalidation_fraction = 0.0\npatience = 3\n", "training"),
    ],
)
def test_a_value_out_of_range_names_file_and_field(tmp_path: Path, text: str, field: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert caught.value.where == f"{path}, field {field}"


def test_each_system_has_settings_of_its_own_unless_told_otherwise(tmp_path: Path) -> None:
    event, fc = SpeechExperiment().training, load_experiment(None, {"system.name": "fc"}).training
    assert (event.learning_rate, event.spike_rate_weight) == (2e-3, 1e-4)
    assert (fc.learning_rate, fc.spike_rate_weight) == (1e-3, 0)
    analog = load_experiment(None, {"system.receiver": "analog"}).training
    assert (analog.epochs, analog.learning_rate) == (50, 1e-3)
    given = load_experiment(
        None, {"system.name": "lstm", "training.epochs": 9, "training.learning_rate": 0.5}
    )
    assert (given.training.epochs, given.training.learning_rate) == (9, 0.5)
    path = tmp_path / "experiment.toml"
    write_experiment(path, given)
    assert load_experiment(path) == given


@pytest.mark.parametrize(
    ("system", "field"),
    [
        ("snn-sc", "system.backbone"),
        ("backbone", "data.path"),
        ("mem-deepsc", "data.path"),
        ("fc", "data.path"),
        ("fc", "training.teacher"),
        ("fc", "training.start_from"),
        ("mem-deepsc", "training.start_from"),
        ("backbone", "system.weights"),
    ],
)
def test_what_a_run_needs_of_others_is_found_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, field: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "away").mkdir()
    asked = {"system.name": system, field: "here/it"} | ({"data.dataset": "fsdd"} if system == "fc" else {})
    asked |= {"system.weights_licence": "none stated"} if field == "system.weights" else {}
    whole = load_experiment(None, asked)
    table, name = field.split(".")
    assert str(getattr(getattr(whole, table), name)) == str(tmp_path.resolve() / "here/it")
    file = written(tmp_path / "away", experiment_text(whole))
    monkeypatch.chdir(tmp_path / "away")
    assert load_experiment(file) == whole


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("system.receiver", "analog", "system.receiver: means nothing to fc"),
        ("training.framework", "norse", "training.framework means nothing to fc"),
    ],
)
def test_a_setting_that_a_system_has_no_use_for_is_refused(field: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_experiment(None, {"system.name": "fc", field: value})
    default = {"system.receiver": "event", "training.framework": "snntorch"}
    assert load_experiment(None, {"system.name": "fc", **default}) == load_experiment(
        None, {"system.name": "fc"}
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"system.transmission": "bits"}, "system.transmission means nothing to event"),
        (
            {"system.name": "vanilla-snn", "system.transmission": "bits"},
            "transmission means nothing to vanilla",
        ),
        ({"system.name": "fc", "system.dropout": 0.5}, "system.dropout means nothing to fc"),
        ({"system.name": "lstm", "system.gate_hidden": 0}, "system.gate_hidden means nothing to lstm"),
        ({"system.name": "lstm", "system.threshold": 0.5}, "system.threshold means nothing to lstm"),
        ({"system.name": "qnn", "system.front_end_levels": 1}, "front_end_levels means nothing to qnn"),
        ({"system.receiver": "analog", "system.gate_hidden": 8}, "gate_hidden means nothing to analog"),
        ({"system.gate_threshold": 0.5}, "system.gate_threshold means nothing to event"),
        (
            {"system.gate_hidden": 0, "system.gate_decay_steps": 3.0},
            "means nothing to a system without gates",
        ),
        ({"channel.kind": "awgn", "channel.taps": 3}, "channel.taps means nothing to the channel awgn"),
        ({"channel.rician_k": 2.0}, "channel.rician_k means nothing to the channel multipath"),
        ({"training.cut_until": 0.5}, "training.cut_until means nothing to training without sparsity"),
        ({"training.teacher_weight": 2.0}, "teacher_weight means nothing to training without a teacher"),
        ({"data.dataset": "shd", "data.encoding.bands": 32}, "data.encoding.bands means nothing to shd"),
        ({"data.dataset": "shd", "data.synthesis.train": 50}, "data.synthesis.train means nothing to shd"),
        ({"data.binning.pool": 2}, "data.binning.pool means nothing to spoken-digits"),
        ({"data.encoding.lif_decay": 0.5}, "data.encoding.lif_decay means nothing to the kind level"),
        (
            {"data.encoding.levels": 1, "data.encoding.highest_level_db": -20.0},
            "highest_level_db means nothing to one level",
        ),
        ({"system.name": "sscc", "training.snr_start_db": 20.0}, "snr_start_db means nothing to sscc"),
        ({"system.name": "sscc", "training.snr_warmup": 0.1}, "snr_warmup means nothing to sscc"),
        ({"system.name": "fc", "training.spike_rate_warmup": 0.9}, "spike_rate_warmup means nothing to"),
        (
            {"training.spike_rate_weight": 0.0, "training.spike_rate_warmup": 0.9},
            "spike_rate_warmup means nothing to training without a weight",
        ),
        (
            {"training.validation_fraction": 0.0, "training.validation_seed": 5},
            "validation_seed means nothing to training without a validation part",
        ),
        ({"system.name": "lstm", "training.sparsity": 0.75}, "most weights of lstm are in others"),
        ({"system.name": "ds-cnn", "training.sparsity": 0.75}, "most weights of ds-cnn are in others"),
        ({"system.receiver": "analog", "training.sparsity": 0.75}, "most weights of analog are in others"),
    ],
)
def test_a_setting_of_a_speech_experiment_without_an_effect_is_refused(
    fields: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_experiment(None, fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"system.name": "lstm", "system.transmission": "bits", "system.dropout": 0.1},
        {"system.receiver": "analog", "system.gate_threshold": 0.5, "system.gate_decay_steps": 3.0},
        {"system.name": "sscc", "system.gate_hidden": 8, "system.gate_decay_steps": 3.0},
        {"channel.kind": "rician", "channel.rician_k": 2.0},
        {"system.name": "qnn", "training.sparsity": 0.75, "training.cut_until": 0.5},
        {"training.teacher": "runs/big", "training.teacher_weight": 4.0},
        {"data.dataset": "shd", "data.binning.pool": 2},
        {"data.encoding.levels": 1, "data.encoding.lowest_level_db": -3.0},
        {"training.spike_rate_weight": 0.0, "training.synop_weight": 1.0, "training.spike_rate_warmup": 0.9},
        {"training.spike_rate_weight": 0.0, "training.spike_rate_warmup": 0.0},
        {"system.name": "sscc", "training.snr_start_db": -100.0, "training.spike_rate_warmup": 0.0},
        {
            "training.start_from": "runs/a",
            "training.validation_fraction": 0.0,
            "training.validation_seed": 5,
        },
        {"data.encoding.kind": "lif", "data.encoding.lif_decay": 0.5},
    ],
)
def test_a_setting_with_an_effect_is_taken_and_read_again(fields: dict[str, object], tmp_path: Path) -> None:
    taken = load_experiment(None, fields)
    write_experiment(tmp_path / "experiment.toml", taken)
    assert load_experiment(tmp_path / "experiment.toml") == taken


@pytest.mark.parametrize("name", list(SystemName))
def test_the_measured_results_are_trained_with_the_defaults(name: SystemName) -> None:
    """But for the whole training part, which a page of results has no reason to cut."""
    chosen = {"system.name": name, "data.dataset": "fsdd"}
    measured = load_experiment(EXAMPLES / "fsdd.toml", chosen)
    different = differing_fields(measured, load_experiment(None, chosen))
    assert different == ["training.threads", "training.validation_fraction"]


def test_there_are_settings_for_every_system() -> None:
    for name in SystemName:
        assert load_experiment(None, {"system.name": name})
    for receiver in ReceiverKind:
        assert load_experiment(None, {"system.receiver": receiver})
    assert {field for own in OWN_SETTINGS.values() for field in own} <= TrainingConfig.model_fields.keys()


def test_only_spiking_systems_have_a_spike_rate() -> None:
    with pytest.raises(ConfigError, match="has no spikes"):
        load_experiment(None, {"system.name": "fc", "training.spike_rate_weight": 1e-4})
    with pytest.raises(ConfigError, match="synop_weight needs a spiking system"):
        load_experiment(None, {"system.name": "fc", "training.synop_weight": 1e-4})


def test_activations_of_a_qnn_count_the_steps() -> None:
    def bits(steps: int, **given: object) -> int | None:
        fields = {"system.name": "qnn", "data.encoding.steps": steps} | given
        return load_experiment(None, fields).system.activation_bits

    assert [bits(steps) for steps in (2, 3, 4, 15, 16, 30, 127)] == [2, 2, 3, 4, 5, 5, 7]
    assert bits(30, **{"system.activation_bits": 6}) == 6
    for fields in ({"steps": 128}, {"steps": 16, "system.activation_bits": 4}):
        with pytest.raises(ConfigError, match="do not count"):
            bits(**fields)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is for qnn, gru and ds-cnn"):
        load_experiment(None, {"system.name": "fc", "system.activation_bits": 4})
    assert load_experiment(None, {"system.name": "fc"}).system.activation_bits is None


def test_a_bad_option_is_named_as_the_user_spelt_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(None, {"training.epochs": 0}, {"training.epochs": "--epochs"})
    assert caught.value.where == "--epochs"
    assert "greater than or equal to 1" in caught.value.problem


def test_fields_that_do_not_fit_together_are_spelt_as_the_user_did(tmp_path: Path) -> None:
    options = {"data.speaker": "--speaker", "data.split": "--split"}
    with pytest.raises(ConfigError) as caught:
        load_experiment(None, {"data.speaker": "bob"}, options)
    assert caught.value.where == "--speaker"
    assert caught.value.problem == "is only used with the --split leave-one-speaker-out"
    assert "Set --split to leave-one-speaker-out" in (caught.value.hint or "")

    path = written(tmp_path, '[data]\nspeaker = "bob"\n')
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert caught.value.where == f"{path}, field data"
    assert caught.value.problem == "speaker is only used with the split leave-one-speaker-out"

    path = written(tmp_path, '[data]\ndataset = "fsdd"\nsplit = "leave-one-speaker-out"\nspeaker = "bob"\n')
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, {"data.split": "official"}, options)
    assert caught.value.where == "--split"
    assert caught.value.problem == "speaker is only used with the --split leave-one-speaker-out"


def test_a_path_for_what_is_synthesised_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="path is not used: spoken-digits is synthesised") as caught:
        load_experiment(written(tmp_path, '[data]\npath = "digits"\n'))
    assert "Leave path out" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [b"[training\n", b"\xff\xfe\x00", b"a = 1\na = 2\n"])
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "experiment.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_experiment(path)


def test_a_value_in_the_place_of_a_table_is_refused_with_the_way_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="field training: must be a table") as caught:
        load_experiment(written(tmp_path, "training = 3\n"))
    assert "[training]" in str(caught.value.hint)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_experiment(path)


def test_an_experiment_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SpeechExperiment().training.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("training.epochs=20", 20),
        ("training.learning_rate = 1e-2", 0.01),
        ("system.name=fc", "fc"),
        ('system.name="fc"', "fc"),
        ("data.path=/a=b", "/a=b"),
        ("data.synthesis.unseen_voices=true", True),
    ],
)
def test_an_assignment_is_read_as_toml_or_as_text(text: str, value: object) -> None:
    assert parse_assignment(text) == (text.split("=", maxsplit=1)[0].strip(), value)


@pytest.mark.parametrize("text", ["", "epochs", "=3"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"table\.field=value"):
        parse_assignment(text)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    assert isinstance(load_experiment(path), FAMILIES)


def test_differing_fields_are_named_in_full() -> None:
    other = load_experiment(None, {"training.seed": 5, "channel.taps": 3})
    assert differing_fields(SpeechExperiment(), other) == ["channel.taps", "training.seed"]
    assert differing_fields(other, other) == []


@pytest.mark.parametrize("number", ["0x" + "f" * 4000, "9" * 5000])
def test_a_number_of_thousands_of_digits_in_an_option_is_refused(number: str) -> None:
    name, value = parse_assignment(f"training.seed={number}")
    with pytest.raises(ConfigError, match=r"set training\.seed: should be a valid integer"):
        load_experiment(None, {name: value}, {name: "--set training.seed"})
