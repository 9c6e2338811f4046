"""The table "format x kind of model" of docs/models.md: every cell a real file, served and compared with the original.

Owns the formats, the kinds that each is tried with, and the words of a cell. `scripts/models_table.py` writes the page;
`test_formats.py` asserts that it says what is observed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from predictd_proto.errors import ModelLoadError
from predictd_server.runner import LoadedModel
from tests.models import keras_zoo
from tests.models.loading_steps import assert_same, default, keras_answer, load, predict, saved

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN = "<!-- formats: tests/models compares this table with what it observes; scripts/models_table.py writes it -->"
END = "<!-- /formats -->"

#: In half precision, one unit in the last place of an intermediate value.
LOOSE = {"mixed_precision": 2e-2, "bfloat16": 2e-2, "float16": 2e-2}
NOT_TRIED = ""
ROWS = 5
#: A user's module for each line of Keras.
CUSTOM_LAYERS = {"keras": "tests.models.custom_layers", "tf_keras": "tests.models.custom_layers_keras_2"}

#: What each kind of model stands for.
KINDS = {
    "mlp": "dense layers",
    "cnn": "convolutions, batch normalisation",
    "lstm": "bidirectional LSTM, any length",
    "gru_states": "GRU with its states as outputs",
    "masked": "embedding, masking, attention, LSTM, any length",
    "two_inputs": "several inputs and outputs, as lists",
    "dicts": "several inputs and outputs, as dicts",
    "nested": "nested inputs and outputs",
    "list_of_one": "a list of one input",
    "text": "strings: TextVectorization",
    "labels": "strings as answers: StringLookup",
    "tabular": "preprocessing layers, strings and floats",
    "pixels": "uint8",
    "embedding": "int32",
    "switches": "bool",
    "float16": "float16",
    "mixed_precision": "mixed precision",
    "bfloat16": "bfloat16",
    "doubles": "float64",
    "any_size": "images of any size",
    "ragged": "ragged rows",
    "custom": "a custom layer, by `modules`",
    "lambda": 'a Lambda layer, `unsafe = "allow"`',
}
_ORDINARY = tuple(kind for kind in KINDS if kind not in {"ragged", "custom", "lambda"})
_FEW = ("mlp", "cnn", "lstm", "two_inputs", "text", "tabular", "pixels", "embedding")
_GRAPHS = ("mlp", "cnn", "lstm", "two_inputs", "pixels", "embedding", "mixed_precision", "doubles", "any_size")


@dataclass(frozen=True, slots=True)
class Made:
    """A model's file, and what the original answers.

    Attributes:
        path: The file or directory.
        rows: Inputs, nested as the served signature takes them.
        answer: The original's answer, nested likewise.
        settings: Fields of `ModelSettings`.
    """

    path: Path
    rows: Any
    answer: Any
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Format:
    """A column of the table.

    Attributes:
        title: Its heading.
        make: Saves the model of a kind in a directory.
        kinds: Those it is tried with.
    """

    title: str
    make: Callable[[str, Path], Made]
    kinds: Sequence[str]


@cache
def original(line: str, kind: str) -> Any:
    """Return the model of a kind, made with a line of Keras."""
    with keras_zoo.made_with(line):
        keras_zoo.line().utils.set_random_seed(5)
        if kind == "custom":
            return importlib.import_module(CUSTOM_LAYERS[line]).model()
        return {**{name: build for name, (build, _) in keras_zoo.ZOO.items()}, **keras_zoo.SPECIAL}[kind]()


@cache
def answer(line: str, kind: str) -> Any:
    """Return what the original's own `predict` answers to the rows of its kind."""
    if kind == "ragged":
        return original(line, kind)(keras_zoo.ragged_rows(), training=False).numpy()
    return keras_answer(original(line, kind), rows_of(kind))


def rows_of(kind: str) -> Any:
    """Return rows for the model of a kind, nested as its `predict` takes them."""
    if kind == "ragged":
        return keras_zoo.padded_rows()
    return keras_zoo.ZOO["mlp" if kind in {"custom", "lambda"} else kind][1](ROWS)


def observe(column: Format, kind: str, directory: Path) -> str:
    """Return the cell of a kind in a column: its runner where the served answers are the original's.

    Raises:
        AssertionError: They are not.
        ModelLoadError: It isn't served, though Keras itself can run what it saved.
    """
    try:
        made = column.make(kind, directory)
    except Exception as error:  # what can't be written can't be served, and the page says so
        return f"can't be saved ({type(error).__name__})"
    try:
        return cell(kind, load(made.path, (1, 8), **made.settings), made.rows, made.answer)
    except ModelLoadError:
        if not _fails_in_keras("tf_keras" if "Keras 2" in column.title else "keras", kind, made.path):
            raise
        return "fails in Keras too"


def cell(kind: str, loaded: LoadedModel, rows: Any, expected: Any) -> str:
    """Return the words of a model that is loaded, once its answers are compared."""
    tolerance = LOOSE.get(kind, 1e-4)
    assert_same(predict(default(loaded), rows), expected, rtol=tolerance, atol=tolerance / 10)
    return default(loaded).runner.kind


def _fails_in_keras(line: str, kind: str, path: Path) -> bool:
    """Whether the Keras that wrote a file can't read it either, or can't run what it read."""
    try:
        keras_answer(importlib.import_module(line).models.load_model(path, compile=False), rows_of(kind))
    except Exception:  # whatever it is, nobody can serve the file
        return True
    return False


def _input_tree(model: Any) -> Any:
    return model.inputs[0] if type(model).__name__ == "Sequential" else model.input


def _keras_file(line: str, ending: str) -> Callable[[str, Path], Made]:
    def make(kind: str, directory: Path) -> Made:
        path = saved(original(line, kind), directory / f"{kind}{ending}")
        settings: dict[str, dict[str, Any]] = {
            "custom": {"modules": (CUSTOM_LAYERS[line],)},
            "lambda": {"unsafe": "allow"},
        }
        return Made(path, rows_of(kind), answer(line, kind), settings.get(kind, {}))

    return make


def _by_name(line: str, kind: str) -> Any:
    """Return rows by the names of the inputs, which is how graphs take several."""
    import tensorflow as tf

    rows = rows_of(kind)
    arrays = tf.nest.flatten(rows)
    names = [tensor.name.split(":")[0] for tensor in tf.nest.flatten(_input_tree(original(line, kind)))]
    return rows if len(arrays) == 1 else dict(zip(names, arrays, strict=True))


def _exported(kind: str, directory: Path) -> Made:
    path = saved(original("keras", kind), directory / kind)
    return Made(path, _by_name("keras", kind), answer("keras", kind))


def _keras_2_directory(kind: str, directory: Path) -> Made:
    import tensorflow as tf

    model, path = original("tf_keras", kind), directory / kind
    model.save(path, save_format="tf")
    answers = tf.nest.flatten(answer("tf_keras", kind))
    # Keras 2 names a signature's outputs after its layers.
    expected = answers[0] if len(answers) == 1 else dict(zip(model.output_names, answers, strict=True))
    return Made(path, _by_name("tf_keras", kind), expected)


def _without_signatures(kind: str, directory: Path) -> Made:
    """Two functions and no signature: Keras reads this through `TFSMLayer` only."""
    import tensorflow as tf

    model, holder = original("keras", kind), tf.Module()
    tree = _input_tree(model)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in tf.nest.flatten(tree)]

    def call(*tensors: Any) -> Any:
        return model(tf.nest.pack_sequence_as(tree, tensors), training=False)

    def train(*tensors: Any) -> Any:
        return model(tf.nest.pack_sequence_as(tree, tensors), training=True)

    holder.model = model
    holder.serve, holder.train = (tf.function(each, input_signature=specs) for each in (call, train))
    path = directory / kind
    tf.saved_model.save(holder, str(path))
    return Made(path, _by_name("keras", kind), answer("keras", kind))


def _tensorflow_1(kind: str, directory: Path) -> Made:
    """What `tf.compat.v1` saves of a Keras 2 model in a graph and session of its own."""
    import tensorflow as tf
    from tf_keras.api._v1.keras import backend

    if kind == "text":
        return _table_of_tensorflow_1(directory)
    v1, path = tf.compat.v1, directory / kind
    with tf.Graph().as_default(), v1.Session() as session, keras_zoo.made_with("tf_keras"):
        backend.set_session(session)
        model = keras_zoo.ZOO[kind][0]()
        # Initialises what the model's making left without values.
        backend.get_session()
        session.run(v1.tables_initializer())
        inputs = {tensor.name.split(":")[0]: tensor for tensor in model.inputs}
        outputs = {f"answer_{index}": tensor for index, tensor in enumerate(model.outputs)}
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def(inputs, outputs)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=v1.tables_initializer()
        )
        builder.save()
        arrays = tf.nest.flatten(rows_of(kind))
        answers = session.run(outputs, dict(zip(inputs.values(), arrays, strict=True)))
    backend.set_session(None)
    with keras_zoo.made_with("tf_keras"):
        # Making a layer in a graph turned its class, and all models that use it, into one of TensorFlow 1: back again.
        keras_zoo.ZOO[kind][0]()
    rows = arrays[0] if len(arrays) == 1 else dict(zip(inputs, arrays, strict=True))
    return Made(path, rows, answers["answer_0"] if len(answers) == 1 else answers)


def _table_of_tensorflow_1(directory: Path) -> Made:
    import tensorflow as tf

    v1, path, rows = tf.compat.v1, directory / "text", rows_of("text")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder("string", (None,), name="line")
        known = tf.lookup.KeyValueTensorInitializer([b"a dog ran", b"cat dog"], tf.constant([5, 7], tf.int64))
        y = tf.lookup.StaticHashTable(known, -1).lookup(x)
        session.run(v1.tables_initializer())
        v1.saved_model.simple_save(session, str(path), {"line": x}, {"id": y}, legacy_init_op=v1.tables_initializer())
        return Made(path, rows, session.run(y, {x: rows}))


def _frozen(kind: str, directory: Path) -> Made:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = original("keras", kind)
    tree = _input_tree(model)
    tensors = tf.nest.flatten(tree)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name) for tensor in tensors]

    def call(*values: Any) -> Any:
        return tf.nest.flatten(model(tf.nest.pack_sequence_as(tree, values), training=False))

    function = convert_variables_to_constants_v2(
        tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
    )
    tf.io.write_graph(function.graph.as_graph_def(), str(directory), f"{kind}.pb", as_text=False)
    outputs = {f"answer_{index}": tensor.name for index, tensor in enumerate(function.outputs)}
    inputs = {tensor.name: graph.name for tensor, graph in zip(tensors, function.inputs, strict=True)}
    answers = tf.nest.flatten(answer("keras", kind))
    expected = answers[0] if len(answers) == 1 else dict(zip(outputs, answers, strict=True))
    settings = {"inputs": inputs, "outputs": outputs}
    return Made(directory / f"{kind}.pb", _by_name("keras", kind), expected, settings)


FORMATS = (
    Format("`.keras`", _keras_file("keras", ".keras"), (*_ORDINARY, "ragged", "custom", "lambda")),
    Format("`.h5`", _keras_file("keras", ".h5"), (*_FEW, "masked", "bfloat16", "ragged", "custom", "lambda")),
    Format("`model.export`", _exported, _ORDINARY),
    Format(
        "`.keras`, Keras 2",
        _keras_file("tf_keras", ".keras"),
        (*(kind for kind in _FEW if kind != "lstm"), "ragged", "custom", "lambda"),
    ),
    Format(
        "`.h5`, Keras 2",
        _keras_file("tf_keras", ".h5"),
        (*(kind for kind in _ORDINARY if kind not in {"switches", "masked"}), "ragged", "custom", "lambda"),
    ),
    Format("SavedModel, Keras 2", _keras_2_directory, ("mlp", "two_inputs", "text")),
    Format("SavedModel without signatures", _without_signatures, ("mlp", "lstm", "two_inputs", "text")),
    Format("SavedModel, TensorFlow 1", _tensorflow_1, (*_GRAPHS, "text")),
    Format("frozen graph", _frozen, _GRAPHS),
)


def table(cells: Mapping[tuple[str, str], str]) -> str:
    """Return the table in Markdown.

    Args:
        cells: By kind and title.
    """
    lines = ["| kind of model | " + " | ".join(column.title for column in FORMATS) + " |"]
    lines.append("|---" * (len(FORMATS) + 1) + "|")
    for kind, words in KINDS.items():
        found = [cells.get((kind, column.title), NOT_TRIED) for column in FORMATS]
        lines.append(f"| {words} | " + " | ".join(found) + " |")
    return "\n".join(lines)


@cache
def on_page() -> dict[tuple[str, str], str]:
    """Return what docs/models.md says, by kind and title."""
    text = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [[each.strip() for each in line.strip("|").split("|")] for line in text.split("\n") if line.startswith("|")]
    words = {text: kind for kind, text in KINDS.items()}
    titles = rows[0][1:]
    cells = {(words[row[0]], title): each for row in rows[2:] for title, each in zip(titles, row[1:], strict=True)}
    return {where: each for where, each in cells.items() if each != NOT_TRIED}
