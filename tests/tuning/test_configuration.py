"""The configuration file: what is found is written into it, and all else stays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_proto.errors import ConfigError
from predictd_server.settings_sources import load_settings
from predictd_server.tuning.configuration import ConfigurationFile, edited, snippet
from predictd_server.tuning.variant import Variant

tomllib: Any = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")

FOUND = Variant(server={"intra_op_threads": 1}, model={"xla": True, "batch_sizes": (1, 4)})
SAID = {"intra_op_threads": "1.2x", "xla": "2x", "batch_sizes": "1.1x"}
TEXT = """\
# The server of the shop.
watch_s = 2   # seconds

[models]   # all of them
digits = 'digits.keras'  # the small one
"v.1" = "other.keras"

[models.mnist]
path = "mnist"
max_batch_size = 8  # was 4
# end
"""


def test_a_model_of_its_own_table() -> None:
    assert edited(TEXT, "mnist", FOUND, SAID) == (
        TEXT.replace("# seconds\n", "# seconds\nintra_op_threads = 1  # 1.2x\n").replace(
            "max_batch_size = 8  # was 4\n# end\n", "# end\nxla = true  # 2x\nbatch_sizes = [1, 4]  # 1.1x\n"
        )
    )


def test_a_model_that_is_a_path_stays_on_its_line() -> None:
    after = edited(TEXT, "digits", FOUND, {key: f"predictd tune: {said}" for key, said in SAID.items()})
    line = next(line for line in after.splitlines() if line.startswith("digits"))
    assert line == (
        'digits = {path = "digits.keras", xla = true, batch_sizes = [1, 4]}  '
        "# the small one; predictd tune: 2x; predictd tune: 1.1x"
    )
    # Once more, with other findings: what was said of the earlier ones goes.
    again = edited(after, "digits", Variant(model={"xla": False}), {"xla": "predictd tune: 3x"})
    line = next(line for line in again.splitlines() if line.startswith("digits"))
    assert line.endswith("# the small one; predictd tune: 3x")
    assert "batch_sizes = [1, 4]" in line


def test_a_value_that_is_there_is_replaced_with_its_comment() -> None:
    text = "intra_op_threads = 2  # predictd tune: 1.5x\n[models]\nm = 'm.keras'\n"
    assert edited(text, "m", Variant(server={"intra_op_threads": 1}), SAID) == (
        "intra_op_threads = 1  # 1.2x\n[models]\nm = 'm.keras'\n"
    )


def test_a_model_of_a_directory_gets_a_table() -> None:
    text = "[models.'*']\npath = 'models'\nmax_batch_size = 4\n"
    after = tomllib.loads(edited(text, "mnist", FOUND, SAID))
    assert after["models"]["*"] == {"path": "models", "max_batch_size": 4}
    assert after["models"]["mnist"] == {"xla": True, "batch_sizes": [1, 4]}


NAMES = st.text("abcXYZ019._-", min_size=1, max_size=8)
VALUES = st.one_of(st.just("'a.keras'  # a path"), st.just("{path = 'b', versions = 2} # x"))


@given(
    st.dictionaries(NAMES, VALUES, min_size=1, max_size=4),
    st.sampled_from(["", "# top\n", "watch_s = 1\n", "watch_s = 1 # s\nmax_batch_size = 3\n"]),
    st.data(),
)
def test_everything_else_is_as_before(models: dict[str, str], top: str, data: Any) -> None:
    text = top + "[models]\n" + "".join(f'"{name}" = {value}\n' for name, value in models.items())
    name = data.draw(st.sampled_from(sorted(models)))
    before, after = tomllib.loads(text), tomllib.loads(edited(text, name, FOUND, SAID))
    assert after.pop("intra_op_threads") == 1
    changed = after["models"].pop(name)
    was = before["models"].pop(name)
    assert after == before
    assert list(changed.items())[-2:] == [("xla", True), ("batch_sizes", [1, 4])]
    assert changed["path"] == (was if isinstance(was, str) else was["path"])
    assert all(line in edited(text, name, FOUND, SAID).splitlines() for line in top.splitlines())


def test_the_snippet_is_what_would_be_written() -> None:
    assert snippet("v.1", FOUND, SAID).splitlines() == [
        "intra_op_threads = 1  # 1.2x",
        "",
        '[models."v.1"]',
        "xla = true  # 2x",
        "batch_sizes = [1, 4]  # 1.1x",
    ]
    assert snippet("m", Variant(server={"onednn": "off"}), {}) == 'onednn = "off"'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "predictd.toml"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    path.chmod(0o640)
    return path


def test_the_file_keeps_its_rights_its_line_ends_and_its_links(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    ConfigurationFile(link).write("mnist", FOUND, SAID)
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert b"watch_s = 2   # seconds\r\n" in file.read_bytes()
    settings = load_settings(flags={}, models=(), environ={}, config=str(file))
    assert settings.intra_op_threads == 1
    assert next(model for model in settings.models if model.name == "mnist").batch_sizes == (1, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.toml", "predictd.toml"]


def test_a_file_that_changed_meanwhile_is_left_alone(file: Path) -> None:
    configuration = ConfigurationFile(file)
    file.write_text("[models]\n")
    with pytest.raises(ConfigError, match=r"(?s)has changed while.*\[models.mnist\]\nxla = true"):
        configuration.write("mnist", FOUND, SAID)
    assert file.read_text() == "[models]\n"


def test_a_result_that_would_be_refused_is_not_written(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ConfigError, match=r"file \S+/predictd.toml: models.mnist: batch_sizes: .* not written"):
        ConfigurationFile(file).write("mnist", Variant(model={"batch_sizes": (4, 1)}), {})
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["predictd.toml"]


def test_a_file_that_can_t_be_written_is_told_before_anything_is_measured(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root everything can be written to.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ConfigError, match=r"can't be written to; make them writable, or use --dry-run"):
        ConfigurationFile(file)


def test_a_full_disk_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    configuration, before = ConfigurationFile(file), file.read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match="can't be written: No space left on device"):
        configuration.write("mnist", FOUND, SAID)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["predictd.toml"]


def test_without_tomlkit_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictd_server.tuning.configuration.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'predictd\[server\]', or use --dry-run"):
        ConfigurationFile(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        ConfigurationFile(tmp_path / "none.toml")
