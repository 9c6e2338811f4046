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
#: Each is one way to write models m and n down; one of them can't be edited.
TABLES = {
    "path": '[models] # all\n"{m}" = "a.keras" # a path\n"{n}" = "b.keras"\n',
    "inline": '[models]\n"{m}" = {{path = "a", versions = 2}} # x\n"{n}" = {{path = "b"}}\n',
    "table": '[models."{m}"]\npath = "a" # x\n[models."{n}"]\npath = "b"\nversions = 2\n',
    "dotted": 'models."{m}".path = "a"\nmodels."{n}".path = "b" # x\n',
    "dotted and a setting": 'models."{m}".path = "a"\nmax_queue_rows = 100\n',
    "fields": '[models]\n"{m}".path = "a"\n"{m}".max_batch_size = 4\n"{n}".path = "b"\n',
    "one line": 'models = {{"{m}" = "a.keras", "{n}" = {{path = "b"}}}} # x\n',
    "every": "[models.'*']\npath = 'models'\nmax_batch_size = 4\n",
    "every in [models]": "[models]\n'*' = {{path = 'models'}}\n\"{n}\" = {{xla = false}}\n",
    "every in one line": "models = {{'*' = {{path = 'models'}}}}\n",
    "every dotted, and a setting": "models.'*'.path = 'models'\nmax_queue_rows = 100\n",
    "apart": '[models."{n}"]\npath = "b"\n[classes]\nslow = 1\n[models."{m}"]\npath = "a"\n# end\n',
}
REFUSED = "every dotted, and a setting"


@pytest.mark.parametrize("form", TABLES)
@given(
    st.lists(NAMES, min_size=2, max_size=2, unique=True),
    st.sampled_from(["", "# top\n", "watch_s = 1\n", "watch_s = 1 # s\nmax_batch_size = 3\n"]),
    st.sampled_from([FOUND, Variant(model=FOUND.model), Variant(server=FOUND.server)]),
)
def test_everything_else_is_as_before(form: str, names: list[str], top: str, found: Variant) -> None:
    """Whatever form [models] has: the result is as intended, or refused."""
    name = names[0]
    text = top + TABLES[form].format(m=name, n=names[1])
    before = tomllib.loads(text)
    if form == REFUSED and found.model:
        with pytest.raises(ConfigError, match="can't be edited"):
            edited(text, name, found, SAID)
        return
    written = edited(text, name, found, SAID)
    after = tomllib.loads(written)
    assert {key: after.pop(key) for key in found.server} == dict(found.server)
    if found.model:
        changed = after["models"].pop(name)
        was = before["models"].pop(name, {})
        was = {"path": was} if isinstance(was, str) else was
        was.pop("max_batch_size", None)
        assert changed == {**was, "xla": True, "batch_sizes": [1, 4]}
    assert after == before
    for comment in ("# top", "# s", "# all", "# end"):
        assert (comment in written) == (comment in text)


def test_what_can_t_be_edited_without_another_change_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "predictd.toml"
    path.write_text("models.'*'.path = 'dir'\nmax_queue_rows = 100\n")
    with pytest.raises(ConfigError, match=r"\[models.m\], after all settings of the server, or use --dry-run"):
        ConfigurationFile(path, "m", FOUND)
    # What the server shares is written before all tables.
    ConfigurationFile(path, "m", Variant(server=FOUND.server)).write("m", Variant(server=FOUND.server), SAID)


@pytest.mark.parametrize(
    "text",
    [
        'models.m.path = "m.keras"\nmodels.n.path = "n.keras"\n',
        'models.m.path = "m.keras"\nmodels.n.path = "n.keras"\nmodels.m.max_batch_size = 4\n',
        '[models]\nm.path = "m.keras"\nn.path = "n.keras"\nm.max_batch_size = 4\n',
    ],
)
def test_a_model_whose_keys_are_dotted(text: str) -> None:
    after = tomllib.loads(edited(text, "m", FOUND, SAID))
    assert after["models"]["m"] == {"path": "m.keras", "xla": True, "batch_sizes": [1, 4]}
    assert after["models"]["n"] == {"path": "n.keras"}


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
    ConfigurationFile(link, "mnist", FOUND).write("mnist", FOUND, SAID)
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert b"watch_s = 2   # seconds\r\n" in file.read_bytes()
    settings = load_settings(flags={}, models=(), environ={}, config=str(file))
    assert settings.intra_op_threads == 1
    assert next(model for model in settings.models if model.name == "mnist").batch_sizes == (1, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.toml", "predictd.toml"]


def test_a_file_that_changed_meanwhile_is_left_alone(file: Path) -> None:
    configuration = ConfigurationFile(file, "mnist", FOUND)
    file.write_text("[models]\n")
    with pytest.raises(ConfigError, match=r"(?s)has changed while.*\[models.mnist\]\nxla = true"):
        configuration.write("mnist", FOUND, SAID)
    assert file.read_text() == "[models]\n"


def test_a_result_that_would_be_refused_is_not_written(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(ConfigError, match=r"file \S+/predictd.toml: models.mnist: batch_sizes: .* not written"):
        ConfigurationFile(file, "mnist", FOUND).write("mnist", Variant(model={"batch_sizes": (4, 1)}), {})
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["predictd.toml"]


def test_a_file_that_can_t_be_written_is_told_before_anything_is_measured(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root everything can be written to.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ConfigError, match=r"can't be written to; make them writable, or use --dry-run"):
        ConfigurationFile(file, "mnist", FOUND)


@pytest.mark.parametrize("what", ["os.fsync", "tempfile.mkstemp"])
def test_a_full_disk_leaves_the_file_as_it_was(file: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    configuration, before = ConfigurationFile(file, "mnist", FOUND), file.read_bytes()
    monkeypatch.setattr(what, full)
    with pytest.raises(
        ConfigError, match=r"(?s)can't be written: No space left on device.*\[models.mnist\]\nxla = true"
    ):
        configuration.write("mnist", FOUND, SAID)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["predictd.toml"]


def test_the_file_keeps_its_owner(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, owners = file.stat(), []
    monkeypatch.setattr("os.chown", lambda path, user, group: owners.append((user, group)))
    ConfigurationFile(file, "mnist", FOUND).write("mnist", FOUND, SAID)
    assert owners == [(old.st_uid, old.st_gid)]


def test_a_file_whose_owner_would_be_lost_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str, user: int, group: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = file.read_bytes()
    monkeypatch.setattr("os.chown", refused)
    with pytest.raises(ConfigError, match=r"(?s)Operation not permitted.*\[models.mnist\]\nxla = true"):
        ConfigurationFile(file, "mnist", FOUND).write("mnist", FOUND, SAID)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["predictd.toml"]


def test_without_tomlkit_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictd_server.tuning.configuration.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'predictd\[server\]', or use --dry-run"):
        ConfigurationFile(file, "mnist", FOUND)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        ConfigurationFile(tmp_path / "none.toml", "mnist", FOUND)
