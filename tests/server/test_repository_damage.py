"""A file that is damaged anywhere costs its own version alone: a look never raises, and says why it isn't served."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.errors import ConfigError
from predictd_server.models import layouts
from predictd_server.models.layouts import look_up, version_at
from predictd_server.models.settings import ModelSettings
from tests.model_files import damaged_keras_file, hdf5_file, keras_file, saved_model
from tests.server.repositories import repository, the_one

#: GraphDef: a node with a name, an operation and an input, then the versions.
GRAPH = b"\x0a\x0c\x0a\x01x\x12\x04Relu\x1a\x01y\x22\x03\x08\xb2\x0d"


def whole_keras_file(path: Path) -> Path:
    """Write a Keras file with a second entry, whose name is marked as UTF-8."""
    with zipfile.ZipFile(keras_file(path), "a") as archive:
        archive.writestr("zoë", "weights")
    return path


def graph_file(path: Path) -> Path:
    path.write_bytes(GRAPH)
    return path


WHOLE: list[tuple[str, Callable[[Path], Path]]] = [
    ("m.keras", whole_keras_file),
    ("m.h5", hdf5_file),
    ("m.pb", graph_file),
]


def damaged(whole: bytes) -> Iterator[bytes]:
    """Yield what is left of a file cut short at each byte, and what it is with each byte changed in some ways."""
    for place, byte in enumerate(whole):
        yield whole[:place]
        for changed in {0x00, 0xFF, byte ^ 0x01, byte ^ 0x80} - {byte}:
            yield whole[:place] + bytes([changed]) + whole[place + 1 :]


def check_told(path: Path) -> bool:
    """Look the path up, as a model and as one of a directory of models; return whether it passes for whole."""
    there = look_up(ModelSettings(name="m", path=path))
    [found] = there.models
    assert there.error is None
    assert len(found.versions) + len(found.problems) == 1
    for problem in found.problems.values():
        assert problem.startswith(f"{path}: ")
        assert len(problem) > len(f"{path}: ")
    return bool(found.versions)


@pytest.mark.parametrize(("name", "write"), WHOLE, ids=[name for name, _ in WHOLE])
def test_a_byte_changed_or_an_end_missing_anywhere_never_raises(
    name: str, write: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = write(tmp_path / name)
    whole = path.read_bytes()
    assert check_told(path)
    passed = []
    for contents in damaged(whole):
        path.write_bytes(contents)
        passed.append(check_told(path))
    assert not all(passed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize(("name", "write"), WHOLE, ids=[name for name, _ in WHOLE])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_several_bytes_changed_at_once_never_raise(
    name: str, write: Callable[[Path], Path], data: st.DataObject, folder: Path
) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    contents = bytearray(write(path).read_bytes())
    places = st.integers(0, len(contents) - 1)
    for place, byte in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=2, max_size=8)).items():
        contents[place] = byte
    path.write_bytes(contents)
    check_told(path)


def test_a_damaged_version_leaves_the_one_before_and_the_other_models(tmp_path: Path) -> None:
    keras_file(tmp_path / "m" / "1" / "m.keras")
    broken = damaged_keras_file(tmp_path / "m" / "2" / "m.keras")
    keras_file(tmp_path / "other.keras")
    damaged_keras_file(tmp_path / "third.keras")
    found = repository(tmp_path).look()
    assert {name: sorted(model.versions) for name, model in found.items()} == {"m": [1], "other": [1], "third": []}
    assert found["m"].problems[2] == (
        f"{broken}: not a whole Keras file: expected a zip file with config.json, got {broken.stat().st_size} bytes "
        "beginning with b'PK\\x03\\x04\\x14\\x00\\x00\\x00' (NotImplementedError: zip file version 25.5); it may be "
        "cut short: save the model again or repeat the copy"
    )


@pytest.mark.parametrize("function", ["look_at", "check_file"])
def test_what_no_check_foresees_is_a_problem_with_a_text(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keras_file(tmp_path / "m.keras")
    saved_model(tmp_path / "v" / "1")

    def unforeseen(*_: object, **__: object) -> None:
        text = "nobody thought of it"
        raise RuntimeError(text)

    monkeypatch.setattr(layouts, function, unforeseen)
    caplog.set_level(logging.DEBUG, "predictd")
    there = repository(tmp_path, f"named={tmp_path / 'v'}", tmp_path / "m.keras")
    said = [text for model in there.look().values() for text in (*model.problems.values(), *model.notes)]
    said += there.refused
    assert len([text for text in said if "RuntimeError: nobody thought of it" in text]) >= 2
    assert all(text.startswith(str(tmp_path)) for text in said)
    assert any(record.exc_info for record in caplog.records), "the traceback is for whoever looks for it"
    version_at(tmp_path / "v" / "1")


def test_an_unforeseen_error_of_an_entry_is_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unforeseen(_: Path) -> None:
        raise ValueError

    monkeypatch.setattr(layouts, "_children", unforeseen)
    there = look_up(ModelSettings(name="m", path=tmp_path))
    assert isinstance(there.error, ConfigError)
    assert there.error.message.startswith(f"{tmp_path}: can't be looked at: ValueError")
    assert the_one(tmp_path).notes == (there.error.message,)
