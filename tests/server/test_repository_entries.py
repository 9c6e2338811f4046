"""What the command line, the environment and the file say of models; all that is wrong with it names the key."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from predictd_proto.errors import ConfigError
from predictd_proto.facts import check_facts
from predictd_server.models.entries import entry_of
from predictd_server.models.fields import MODEL_FIELDS
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.settings import Settings
from predictd_server.settings_sources import load_settings
from tests.model_files import keras_file

DIGEST = "sha256:" + "0123456789abcdef" * 4

EVERY_FIELD = f"""
[models.m]
path = "repository/m"
versions = [1, 3]
default_version = "stable"
batch_sizes = [1, 8]
max_batch_elements = 4096
batch_timeout_ms = 2
max_queue_rows = 100
weight = 2
priority = 1
lengths = [16, 64]
unseen_lengths = "pad"
pad_value = -1
cache_bytes = 1000
signature = "serve"
tags = ["serve", "gpu"]
modules = ["package.layers", "other"]
unsafe = "allow"
digests = ["{DIGEST}"]
max_bytes = 1_000_000
tolerance = 1e-3
xla = true

[models.m.labels]
stable = 1
canary = 3

[models.m.inputs]
x = "Placeholder:0"

[models.m.outputs]
y = "Softmax:0"
"""


def load(folder: Path, text: str) -> Settings:
    path = folder / "predictd.toml"
    path.write_text(text)
    return load_settings(flags={}, models=(), environ={}, config=str(path))


def test_the_table_and_the_record_name_the_same_fields_with_the_same_defaults() -> None:
    settings = ModelSettings(name="m", path=Path("/m"))
    assert {field.name for field in MODEL_FIELDS} | {"name"} == {field.name for field in fields(ModelSettings)}
    for field in MODEL_FIELDS:
        default = getattr(settings, field.name)
        if field.name != "path":
            assert default == field.default, field.name
        if default not in (None, (), {}) and field.name != "path":
            assert field.check(default, "default") == default


def test_a_file_sets_every_field(tmp_path: Path) -> None:
    (model,) = load(tmp_path, EVERY_FIELD).models
    assert model == ModelSettings(
        name="m",
        path=tmp_path / "repository" / "m",
        versions=(1, 3),
        default_version="stable",
        labels={"stable": 1, "canary": 3},
        batch_sizes=(1, 8),
        max_batch_elements=4096,
        batch_timeout_ms=2.0,
        max_queue_rows=100,
        weight=2.0,
        priority=1,
        lengths=(16, 64),
        unseen_lengths="pad",
        pad_value=-1.0,
        cache_bytes=1000,
        signature="serve",
        tags=("serve", "gpu"),
        inputs={"x": "Placeholder:0"},
        outputs={"y": "Softmax:0"},
        modules=("package.layers", "other"),
        unsafe="allow",
        digests=(DIGEST,),
        max_bytes=1_000_000,
        tolerance=1e-3,
        xla=True,
    )
    # Of these two only one can be set.
    assert {*model.explained(), "max_batch_size"} == {field.name for field in fields(ModelSettings)}
    assert EVERY_FIELD.count(" = ") == len(MODEL_FIELDS), "the file above sets each other field once, and two labels"


@pytest.mark.parametrize(
    ("text", "versions"), [("2", 2), ('"all"', "all"), ("[3]", (3,)), ("[20260131, 1]", (20260131, 1))]
)
def test_versions_are_so_many_all_or_a_list(text: str, versions: object, tmp_path: Path) -> None:
    (model,) = load(tmp_path, f'[models.m]\npath = "m"\nversions = {text}').models
    assert model.versions == versions


def test_a_path_in_a_file_may_be_absolute_or_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/rooms/of")
    models = load(tmp_path, '[models]\na = "/a.keras"\nb = "~/b.keras"\nc = "../c.keras"').models
    assert [str(model.path) for model in models] == ["/a.keras", "/rooms/of/b.keras", f"{tmp_path}/../c.keras"]


def test_what_is_set_for_a_model_is_shown_as_status_can_carry_it(tmp_path: Path) -> None:
    text = '[models.m]\npath = "m"\nversions = [1, 3]\nlabels = {stable = 1}\nweight = 2'
    (model,) = load(tmp_path, text).models
    settings = Settings(models=(replace(model, path=Path("/m\udcff")),))
    shown = settings.explained()
    check_facts("settings", shown)
    assert shown["models"] == [
        [{"name": "m", "path": "/m?", "versions": [1, 3], "labels": {"stable": 1}, "weight": 2.0}],
        "default",
    ]


def test_a_directory_of_models_is_an_entry_without_a_name(tmp_path: Path) -> None:
    (every,) = load(tmp_path, '[models."*"]\npath = "all"\nmax_batch_size = 8').models
    assert (every.name, every.path, every.max_batch_size) == ("", tmp_path / "all", 8)


def test_one_model_of_a_directory_has_settings_of_its_own_on_top_of_those_of_all(tmp_path: Path) -> None:
    keras_file(tmp_path / "all" / "a.keras")
    keras_file(tmp_path / "all" / "b" / "1" / "m.keras")
    keras_file(tmp_path / "all" / "c.keras")
    text = (
        '[models."*"]\npath = "all"\nmax_batch_size = 8\nweight = 3\n[models.a]\nweight = 5\n[models.b]\nversions = 2'
    )
    repository = Repository(load(tmp_path, text).models)
    repository.check(is_watched=False)
    found = {name: model.settings for name, model in repository.look().items()}
    assert {name: (it.max_batch_size, it.weight, it.versions) for name, it in found.items()} == {
        "a": (8, 5.0, 1),
        "b": (8, 3.0, 2),
        "c": (8, 3.0, 1),
    }
    assert repository.refused == ()


def test_a_largest_batch_of_one_model_takes_the_place_of_the_batch_sizes_of_all(tmp_path: Path) -> None:
    keras_file(tmp_path / "all" / "a.keras")
    keras_file(tmp_path / "all" / "b.keras")
    text = '[models."*"]\npath = "all"\nbatch_sizes = [2, 8]\n[models.a]\nmax_batch_size = 4'
    found = {model.name: model for model in load(tmp_path, text).models}
    assert {name: (it.batch_sizes, it.most_rows) for name, it in found.items()} == {"": ((2, 8), 8), "a": ((), 4)}


@pytest.mark.parametrize("text", ["onednn = 'off'\n[models.m]\n", "[models.m]\nxla = true\n"])
def test_what_only_tensorflow_has_is_refused_with_another_backend(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(onednn|xla) = \w+ has no effect: it is for TensorFlow"):
        load(tmp_path, f"backend = 'jax'\n{text}path = 'm.keras'")


def test_settings_for_a_model_that_the_directory_has_not_are_refused(tmp_path: Path) -> None:
    keras_file(tmp_path / "all" / "a.keras")
    settings = load(tmp_path, '[models."*"]\npath = "all"\n[models.digts]\nweight = 5')
    with pytest.raises(ConfigError, match=r"all/digts: no such file or directory"):
        Repository(settings.models).check(is_watched=False)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("max_bach_size = 8", ["unknown setting max_bach_size", "did you mean max_batch_size?"]),
        ("v2 = {path = 'x'}", ["unknown setting v2", 'goes into quotes: [models."NAME.v2"]']),
        ("path = 3", ["path = 3: expected a path"]),
        ("path = ''", ["path = '': expected a path"]),
        ("versions = 0", ["versions = 0: expected a whole number of at least 1 or 'all' or a list of at least one"]),
        ("versions = 'newest'", ["versions = 'newest'", "or 'all'"]),
        ("versions = []", ["versions = []"]),
        ("versions = [0]", ["each a version of at least 1"]),
        ("versions = [1, '2']", ["versions = [1, '2']"]),
        ("versions = [2, 2]", ["versions: [2, 2] holds a version twice"]),
        ("versions = true", ["versions = True"]),
        ("versions = 9223372036854775808", ["versions = 9223372036854775808"]),
        ("labels = 'stable'", ["labels = 'stable': expected a table of NAME = a version"]),
        ("labels = {stable = 'x'}", ["labels"]),
        ("labels = {stable = 0}", ["labels"]),
        ("labels = {'3' = 1}", ["labels: '3': expected a label", "not digits alone"]),
        ("labels = {'a b' = 1}", ["labels: 'a b': expected a label"]),
        ("versions = [1, 2]\nlabels = {stable = 3}", ["labels: stable = 3 is never served: versions = [1, 2]"]),
        ("default_version = 'stable'", ["default_version: 'stable' is no label of this model; there are none"]),
        ("default_version = 'a'\nlabels = {b = 1}", ["there are 'b'"]),
        ("default_version = '7'", ["default_version = '7'"]),
        ("default_version = 0", ["default_version = 0"]),
        ("versions = [1]\ndefault_version = 2", ["default_version: 2 is never served"]),
        ("lengths = [64, 16]", ["lengths: [64, 16]: expected them ascending, each once: [16, 64]"]),
        ("lengths = [16, 16]", ["lengths: [16, 16]"]),
        ("lengths = [0]", ["lengths = [0]"]),
        ("unseen_lengths = 'pad'", ["unseen_lengths: 'pad' needs lengths"]),
        ("unseen_lengths = 'reject'", ["unseen_lengths: 'reject' needs lengths"]),
        ("unseen_lengths = 'cut'", ["one of pad, serve, reject"]),
        ("pad_value = 0", ["pad_value: has no effect"]),
        ("weight = 0", ["weight = 0", "from 0.001 to 1000"]),
        ("weight = nan", ["weight = nan"]),
        ("modules = 'layers'", ["modules = 'layers': expected a list of at least one, each a module's name"]),
        ("modules = ['a-b']", ["modules = ['a-b']"]),
        (
            "modules = ['layers']\nunsafe = 'refuse'",
            ["modules: ['layers'] are code, and unsafe = 'refuse' refuses code"],
        ),
        ("digests = ['abc']", ["digests = ['abc']", "sha256: and 64"]),
        ("digests = []", ["digests = []"]),
        ("unsafe = 'maybe'", ["one of refuse, warn, allow"]),
        ("max_bytes = 0", ["max_bytes = 0"]),
        ("inputs = {x = 1}", ["inputs"]),
        ("tolerance = -1", ["tolerance = -1"]),
        ("batch_sizes = [4, 1]", ["batch_sizes: [4, 1]: expected them ascending, each once: [1, 4]"]),
        ("batch_sizes = []", ["batch_sizes = []: expected a list of at least one"]),
        ("batch_sizes = [0]", ["batch_sizes = [0]: expected a list of at least one, each a whole number from 1 to"]),
        ("batch_sizes = [4]\nmax_batch_size = 4", ["max_batch_size: has no effect: batch_sizes = [4] says which"]),
        ("batch_sizes = [1]\nbatch_timeout_ms = 5", ["batch_timeout_ms = 5.0 has no effect"]),
        ("batch_sizes = [1, 64]\nmax_queue_rows = 10", ["batch_sizes = (1, 64) has no effect"]),
        ("max_batch_size = 1\nbatch_timeout_ms = 5", ["batch_timeout_ms = 5.0 has no effect"]),
        ("max_batch_size = 64\nmax_queue_rows = 10", ["max_batch_size = 64 has no effect", "max_queue_rows = 10"]),
    ],
)
def test_a_wrong_field_is_named_with_its_model_and_its_file(lines: str, said: list[str], tmp_path: Path) -> None:
    path = "" if lines.startswith("path") else 'path = "m"\n'
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"[models.m]\n{path}{lines}")
    parts = [*said, f"file {tmp_path / 'predictd.toml'}", "models.m"]
    assert all(part in caught.value.message for part in parts), caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[models.m]\nversions = 2", 'models.m: has no path; expected path = "PATH"'),
        ('[models."a b"]\npath = "x"', "model name 'a b' in file"),
        ('[models]\n"" = "x"', "model name '' in file"),
        ('models = ["x"]', 'expected a table of NAME = "PATH"'),
        ('[models]\n"*" = 5', 'models.*: expected "PATH"'),
        ('[models.m]\npath = "a\\u0000b"', "expected a path"),
        ('memory_limit_bytes = 10\n[models.m]\npath = "m"\nmax_bytes = 11', "max_bytes = 11 has no effect"),
    ],
)
def test_a_wrong_table_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in caught.value.message


@pytest.mark.parametrize("place", ["lr=0.1/m.keras", "a/b=c/m.keras"])
def test_a_path_may_hold_an_equals_sign(place: str, tmp_path: Path) -> None:
    entry = entry_of(str(tmp_path / place))
    assert (entry.name, entry.path) == ("", tmp_path / place)


def test_a_file_with_an_equals_sign_is_found_before_a_name_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keras_file(tmp_path / "lr=1.keras")
    monkeypatch.chdir(tmp_path)
    assert entry_of("lr=1.keras") == ModelSettings(name="", path=path)
    assert entry_of("m=lr=1.keras") == ModelSettings(name="m", path=path)
    assert entry_of("x=1.keras") == ModelSettings(name="x", path=tmp_path / "1.keras")


def test_a_path_that_is_too_long_is_a_path_all_the_same() -> None:
    assert entry_of("m=/" + "a" * 300) == ModelSettings(name="m", path=Path("/" + "a" * 300))


def test_relative_paths_and_home_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert entry_of("m.keras").path == entry_of("~/m.keras").path == tmp_path / "m.keras"


@pytest.mark.parametrize("argument", ["two words=m.keras", "=m.keras", "é=m.keras", f"{'m' * 65}=m.keras"])
def test_a_bad_name_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 64 of the characters"):
        entry_of(argument)


@pytest.mark.parametrize("argument", ["", "  ", "m=", "a\0b", "~nobody-at-all/m.keras"])
def test_a_missing_path_or_one_that_can_t_be_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match="path"):
        entry_of(argument)
