"""Frozen graphs: told from other `.pb` files, their ends found or named, run in a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_proto.errors import ModelLoadError
from predictd_server.models.files import ModelFormat, look_at
from predictd_server.models.frozen_graph_file import check_frozen_graph
from tests.models.loading_steps import default, load, names, predict

pytestmark = pytest.mark.tensorflow

ROWS = np.arange(6, dtype="float32").reshape(2, 3)


def frozen(path: Path, build: Callable[[Any], Any]) -> Path:
    """Write the graph that a function builds with `tf.compat.v1`, its variables frozen as TensorFlow 1 froze them."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        ends = build(v1)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        kept = [op for op in graph.get_operations() if op.type.startswith(("InitializeTable", "LookupTableImport"))]
        nodes = [end.op.name for end in ends] + [op.name for op in kept]
        constant = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), nodes)
        v1.train.write_graph(constant, str(path.parent), path.name, as_text=False)
    return path


def two_ends(v1: Any) -> Any:
    x = v1.placeholder("float32", (None, 3), name="net/x")
    v1.placeholder("float32", (None, 9), name="nobody")
    weight = v1.get_variable("w", (3, 2), use_resource=False, initializer=v1.constant_initializer(0.5))
    hidden = v1.matmul(x, weight, name="net/hidden")
    return [v1.nn.softmax(hidden, name="net/scores"), v1.nn.top_k(hidden, 1, name="net/best").values]


def by_wrap_function(path: Path, feeds: list[str], fetches: list[str], rows: Any) -> list[Any]:
    """Return what TensorFlow 2's own way to run such a graph answers."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    pruned = whole.prune([f"{name}:0" for name in feeds], [whole.graph.get_tensor_by_name(name) for name in fetches])
    return [tensor.numpy() for tensor in pruned(tf.constant(rows))]


def test_every_placeholder_goes_in_and_what_nothing_uses_comes_out(tmp_path: Path) -> None:
    path = frozen(tmp_path / "m.pb", two_ends)
    loaded = load(path, (1, 2))
    assert names(default(loaded).spec) == (["net/x"], ["net/scores", "net/best", "net/best:1"])
    assert default(loaded).runner.kind == "session"
    expected = by_wrap_function(path, ["net/x"], ["net/scores:0", "net/best:0", "net/best:1"], ROWS)
    answer = predict(default(loaded), ROWS)
    for name, each in zip(names(default(loaded).spec)[1], expected, strict=True):
        np.testing.assert_allclose(answer[name], each, rtol=1e-6)
    assert (loaded.parameters, loaded.weight_bytes) == (6, 24)


def test_ends_have_the_callers_names(tmp_path: Path) -> None:
    path = frozen(tmp_path / "m.pb", two_ends)
    loaded = load(path, (1, 2), inputs={"image": "net/x"}, outputs={"best": "net/best:1", "hidden": "net/hidden:0"})
    assert names(default(loaded).spec) == (["image"], ["best", "hidden"])
    best, hidden = by_wrap_function(path, ["net/x"], ["net/best:1", "net/hidden:0"], ROWS)
    answer = predict(default(loaded), ROWS)
    np.testing.assert_array_equal(answer["best"], best)
    np.testing.assert_allclose(answer["hidden"], hidden, rtol=1e-6)


def test_an_end_in_the_middle_of_the_graph_can_go_in(tmp_path: Path) -> None:
    path = frozen(tmp_path / "m.pb", two_ends)
    loaded = load(path, (1, 2), inputs={"hidden": "net/hidden"}, outputs={"scores": "net/scores"})
    hidden = np.array([[1.0, 1.0]], "float32")
    np.testing.assert_allclose(predict(default(loaded), hidden), [[0.5, 0.5]])


def test_a_table_that_the_graph_fills_itself_is_filled(tmp_path: Path) -> None:
    import tensorflow as tf

    def build(v1: Any) -> Any:
        x = v1.placeholder("string", (None,), name="word")
        known = tf.lookup.KeyValueTensorInitializer(tf.constant([b"a", b"b"]), tf.constant([5, 7], tf.int64))
        return [tf.identity(tf.lookup.StaticHashTable(known, -1).lookup(x), name="id")]

    loaded = load(frozen(tmp_path / "m.pb", build), (1, 2), outputs={"id": "id"})
    assert predict(default(loaded), np.array([b"b", b"z"], dtype=object)).tolist() == [7, -1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": {"x": "wrong"}}, r"`inputs` names the tensor 'wrong', which the graph hasn't; it has net/x"),
        ({"outputs": {"y": "net/scores:3"}}, r"`outputs` names the tensor 'net/scores:3', .* it has net/scores"),
        ({"outputs": {"y": "net/scores:a"}}, r"`outputs` names the tensor 'net/scores:a'"),
    ],
    ids=["input", "number", "no number"],
)
def test_an_end_that_is_not_there_is_refused_with_those_that_are(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelLoadError, match=words):
        load(frozen(tmp_path / "m.pb", two_ends), **options)


def test_a_placeholder_that_nothing_feeds_is_named(tmp_path: Path) -> None:
    def build(v1: Any) -> Any:
        rate = v1.placeholder("float32", (), name="rate")
        return [v1.multiply(v1.placeholder("float32", (None, 3), name="x"), rate, name="y")]

    with pytest.raises(ModelLoadError, match="feed a value for placeholder tensor 'rate'"):
        load(frozen(tmp_path / "m.pb", build), inputs={"x": "x"})


def test_an_input_of_unknown_shape_is_refused(tmp_path: Path) -> None:
    def build(v1: Any) -> Any:
        return [v1.multiply(v1.placeholder("float32", name="x"), 2.0, name="y")]

    with pytest.raises(ModelLoadError, match="input 'x' has an unknown number of axes"):
        load(frozen(tmp_path / "m.pb", build))


def test_a_saved_models_graph_is_not_a_frozen_one(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "m"))
    with pytest.raises(ModelLoadError, match=r"is a SavedModel's graph, expected a frozen one; name the directory"):
        check_frozen_graph(tmp_path / "m" / "saved_model.pb")
    assert look_at(tmp_path / "m") is ModelFormat.SAVED_MODEL


def test_a_graph_as_text_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.io.write_graph(tf.Graph().as_graph_def(), str(tmp_path), "m.pb", as_text=True)
    (tmp_path / "m.pb").write_text('node {\n  name: "x"\n  op: "Placeholder"\n}\n')
    with pytest.raises(ModelLoadError, match=r"not a whole frozen graph: expected a binary GraphDef.*as_text=False"):
        check_frozen_graph(tmp_path / "m.pb")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return frozen(tmp_path_factory.mktemp("frozen") / "m.pb", two_ends).read_bytes()


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None)
def test_what_is_cut_short_never_ends_where_a_field_does_not(
    share: float, whole: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import tensorflow as tf

    path = tmp_path_factory.mktemp("cut") / "m.pb"
    path.write_bytes(whole[: int(share * len(whole))])
    try:
        check_frozen_graph(path)
    except ModelLoadError:
        return
    # A cut between two nodes leaves a message; TensorFlow can read it too.
    tf.compat.v1.GraphDef.FromString(path.read_bytes())


@given(noise=st.binary(min_size=1, max_size=64))
@settings(max_examples=100, deadline=None)
def test_other_bytes_are_refused_in_words(noise: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("noise") / "m.pb"
    path.write_bytes(b"\x00" + noise)
    with pytest.raises(ModelLoadError, match="expected a binary GraphDef"):
        check_frozen_graph(path)
