"""`RemoteModel`: a model that runs elsewhere, called as a Keras model is.

Owns Keras' calling conventions: what `predict` takes, casts, returns and prints. Asking is the client's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from predictd.client import Client
from predictd.deadline import check_timeout_ms
from predictd.requests.catalogue import Plan
from predictd.requests.request_frames import Question, check_words
from predictd.requests.structure_match import match_inputs
from predictd.rows.chunks import Pace
from predictd.rows.data_sources import batch_count, batches_of, is_stream
from predictd.rows.keras_arguments import QUIET, check_callbacks, count_of, first_steps, small_rows
from predictd.rows.lazy_rows import LazyRows, rows_of
from predictd.rows.many_rows import ManyRows
from predictd.rows.progress import ProgressBar
from predictd.summary import in_order, summary_lines
from predictd.wording import named, restated
from predictd_proto.errors import (
    ConfigError,
    PredictdError,
    RequestTooLargeError,
    TensorMismatchError,
    VersionNotFoundError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from predictd_proto.limits import Limits
    from predictd_proto.tensors import TensorSpec


#: How often a `predict` begins whose version is taken away each time.
MOST_TRIES = 3


class RemoteModel:
    """A served model with the calls of a Keras model.

    Making one opens nothing and asks nobody, so it may be done at import and before a fork. It pickles as its
    arguments.

    Inputs are cast to the model's dtypes and, where only a last axis of length 1 is missing or too many, reshaped, as
    Keras does. Outputs are numpy arrays that may be written to, nested as the model nests them.

    What it tells of itself (`inputs`, `output_shape`, ...) is what this process heard last; `summary` asks anew.

    Differences from a Keras model:

    - It takes more: lists of Python numbers, strings of any kind, whatever numpy reads, plain batches of a generator.
    - Several inputs may always be a dict by their names, with any other keys beside them.
    - It refuses what Keras guesses at: two arrays for one input, complex numbers for real ones, inputs with different
      numbers of rows, counts of 0.
    - No rows give outputs with no rows; Keras' `predict` fails.
    - A model made for a fixed number of rows takes multiples of it.
    - Outputs whose rows differ in shape from batch to batch are refused; Keras makes a ragged tensor of them.
    - Not-a-numbers stay what they are; kernels that `predict` runs in Keras may make numbers of them.
    - float64 inputs of a float64 model keep their digits; Keras' `predict` passes them through float32.
    - `verbose="auto"` draws a bar for a person who waits (a terminal or a notebook, half a second), and a bar in a pipe
      is one plain line; a generator's end is no reason for a warning.
    - `name` is the server's, and outputs go by the keys of the answer. `input_names` exists.
    - Calling it gives numpy arrays, not tensors.
    - It doesn't train, has no layers, calls no callbacks and takes no masks; its `summary` takes `print_fn` only.
    - A model that keeps a state between calls (a stateful RNN) is not served: it would mix its callers' data.

    Args:
        name: The model's name at the server.
        endpoint: Where the server listens, or several servers; None for the default (see `Client`).
        client: A client to share instead of an endpoint.
        version: A version number, a label, or None for the latest that is ready.
        signature: The signature's name; None for the model's default.
        timeout_ms: What each request may take, in milliseconds; None for the client's time-out. `predict` sends large
            inputs as several requests.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        name: str,
        *,
        endpoint: str | Iterable[str] | None = None,
        client: Client | None = None,
        version: int | str | None = None,
        signature: str | None = None,
        timeout_ms: float | None = None,
    ) -> None:
        if endpoint is not None and client is not None:
            text = "RemoteModel takes an endpoint or a client, not both"
            raise ConfigError(text)
        _check_client(client)
        check_words(name, version, signature)
        self._name = name
        self._client = Client(endpoint) if client is None else client
        self._version = version
        self._signature = signature
        self._timeout_ms = None if timeout_ms is None else check_timeout_ms("timeout_ms", timeout_ms)
        self._pace = Pace()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self._name, self._client, self._version, self._signature, self._timeout_ms))

    def __repr__(self) -> str:
        version = "" if self._version is None else f" version {self._version!r}"
        return f"<predictd.RemoteModel {self._name!r}{version} by {self._client!r}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            hint = "" if name.startswith("_") else ": a served model only predicts"
            text = f"a RemoteModel has no attribute {name!r}{hint}"
            raise AttributeError(text, name=name, obj=self)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> Any:
        """Return the outputs for all rows of x.

        Large inputs are sent as several requests, two of them under way at any time: neither rows nor outputs sit in
        memory twice. Memory-mapped arrays, frames, sparse matrices and arrays in files (h5py, zarr) are read as their
        turn comes.

        All rows are answered by one version: the one that is served when the call begins, also where another becomes
        the latest meanwhile. If that version is taken away, the call begins anew with the one that is served then; of
        generators and the like, whose batches are gone, it fails.

        Args:
            x: An array whose axis 0 counts the rows, e.g. `float32[rows, 28, 28, 1]`, or a list or dict of them as the
                model takes them; anything that numpy reads (lists, frames, tensors); or a generator, `PyDataset`, data
                loader or `tf.data.Dataset` that gives batches, plain or as (inputs, targets, weights). It is only read.
            batch_size: Rows per request; None for as many as suit the server. It forms its own batches either way,
                unless it merges no rows of this model: then these are the batches, of 32 rows where None is given.
            verbose: 0 silent, 1 a progress bar, 2 one line at the end, "auto" a bar on a terminal when it takes long.
            steps: How many batches to take of x; None for all. Without a batch size all rows of an array are spread
                over the steps.
            callbacks: None: a served model calls none.

        Returns:
            An array, or a list or dict of arrays, as the model gives them, e.g. `float32[rows, 10]`. They are the
            caller's and may be written to. No rows give outputs with no rows.

        Raises:
            TensorMismatchError: x is not what the model takes, or its outputs can't be joined.
            VersionNotFoundError: There is no such version, or it was taken away while x gave batch after batch.
            ConfigError: Another argument is wrong.
            PredictdError: As `Client.predict`; what is under way is cancelled then, and also when the caller is
                interrupted or a generator raises.
        """
        batch_size, steps = count_of("batch_size", batch_size), count_of("steps", steps)
        check_callbacks(callbacks)
        small = small_rows(x, batch_size) if steps is None and verbose in QUIET else None
        if small is not None:
            try:
                return self._ask(small)
            except (RequestTooLargeError, TensorMismatchError):
                pass  # a server with limits, or a model with batches, below anything usual: in parts, then
        is_version_given = isinstance(self._version, int)
        tries = 0
        while True:
            plan, limits = self._known(is_fresh=not is_version_given)
            many = self._many(plan, limits)
            try:
                if is_stream(x):
                    batches = (self._arrays(plan, batch) for batch in batches_of(x, steps))
                    return many.of_batches(batches, ProgressBar(batch_count(x, steps), verbose))
                arrays, per_step = first_steps(self._arrays(plan, x), batch_size, steps)
                return many.of_arrays(arrays, batch_size, per_step, verbose)
            except VersionNotFoundError as error:
                if not is_version_given and is_stream(x):
                    raise _gone(error, plan) from error
                tries += 1
                if is_version_given or tries == MOST_TRIES:
                    raise

    def predict_on_batch(self, x: Any) -> Any:
        """Return the outputs for one batch, sent as one request.

        Args:
            x: As for `predict`, but no generators; read and not kept.

        Returns:
            As `predict`.

        Raises:
            TensorMismatchError: x is not what the model takes.
            RequestTooLargeError: It is too large for one request; `predict` sends several.
            PredictdError: As `Client.predict`.
        """
        return self._ask(x)

    def __call__(self, x: Any, training: bool = False) -> Any:
        """Return the outputs for one batch, sent as one request, as numpy arrays.

        Args:
            x: As for `predict`, but no generators.
            training: Only False: a served model does not train.

        Returns:
            As `predict`.

        Raises:
            ConfigError: `training` is true.
            PredictdError: As `predict_on_batch`.
        """
        if training:
            text = f"model {self._name!r}: training=True is not possible: a served model only infers"
            raise ConfigError(text)
        return self._ask(x)

    @property
    def name(self) -> str:
        """The model's name at the server."""
        return self._name

    @property
    def inputs(self) -> list[TensorSpec]:
        """What it takes: names, dtypes and shapes, in Keras' order (a dict's by its keys in alphabetical order)."""
        spec = self._known()[0].spec
        return in_order(spec.inputs, spec.input_structure)

    @property
    def outputs(self) -> list[TensorSpec]:
        """What it gives, likewise."""
        spec = self._known()[0].spec
        return in_order(spec.outputs, spec.output_structure)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in the order of `inputs`."""
        return [spec.name for spec in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the order of `outputs`: an answer that is a dict goes by its keys."""
        return [spec.name for spec in self.outputs]

    @property
    def input_shape(self) -> Any:
        """Shape of the input, e.g. `(None, 28, 28, 1)`, None where an axis is free; of several a list of shapes."""
        return _shapes(self.inputs)

    @property
    def output_shape(self) -> Any:
        """Shape of the output, likewise."""
        return _shapes(self.outputs)

    def count_params(self) -> int | None:
        """Return the number of weights; None where the server doesn't know."""
        return self._known()[0].metadata.parameters

    def summary(self, print_fn: Callable[[str], object] | None = None) -> None:
        """Print what is served now: inputs, outputs, parameters, batch sizes.

        Args:
            print_fn: Takes each line; None for standard output.
        """
        plan = self._known(is_fresh=True)[0]
        for line in summary_lines(plan, self._client.endpoint):
            # print_fn is what Keras calls it, and print is what it is by default there too.
            (print_fn or print)(line)

    def _known(self, *, is_fresh: bool = False) -> tuple[Plan, Limits]:
        asking, key = self._client.asking, (self._name, self._version, self._signature)
        return asking.plan(key, asking.deadline(self._timeout_ms), is_fresh=is_fresh)

    def _many(self, plan: Plan, limits: Limits) -> ManyRows:
        return ManyRows(
            self._client.asking,
            plan,
            limits,
            question=lambda arrays: self._question(arrays, version=plan.metadata.version, is_matched=True),
            timeout_ms=self._timeout_ms,
            pace=self._pace,
        )

    def _arrays(self, plan: Plan, x: Any) -> list[NDArray[Any] | LazyRows]:
        try:
            values = match_inputs(plan.spec, x, is_lenient=True)
            return [rows_of(spec.name, value) for spec, value in zip(plan.spec.inputs, values, strict=True)]
        except TensorMismatchError as error:
            raise restated(error, f"{plan.label}, {error.message}") from error

    def _question(self, inputs: Any, *, version: int | str | None, is_matched: bool) -> Question:
        return Question(
            self._name,
            inputs,
            version=version,
            signature=self._signature,
            cast=True,
            is_lenient=True,
            is_matched=is_matched,
        )

    def _ask(self, x: Any) -> Any:
        question = self._question(x, version=self._version, is_matched=False)
        asking = self._client.asking
        answer, plan = asking.ask(question, asking.deadline(self._timeout_ms))
        return plan.outputs_of(answer)


def _check_client(client: object) -> None:
    if client is None or isinstance(client, Client):
        return
    hint = f"; write endpoint={client!r}" if isinstance(client, str) else ""
    text = f"client: expected a predictd.Client, got {named(client)}{hint}"
    raise ConfigError(text)


def _rebuild(
    name: str, client: Client, version: int | str | None, signature: str | None, timeout_ms: float | None
) -> RemoteModel:
    return RemoteModel(name, client=client, version=version, signature=signature, timeout_ms=timeout_ms)


def _gone(error: VersionNotFoundError, plan: Plan) -> PredictdError:
    text = (
        f"{error.message}. predict began with {plan.label}, which was taken away meanwhile; rows of two versions are "
        "not mixed, and the batches that x gave are gone: call it again with an x that begins anew"
    )
    return restated(error, text)


def _shapes(specs: Sequence[TensorSpec]) -> Any:
    shapes = [tuple(spec.shape) for spec in specs]
    return shapes[0] if len(shapes) == 1 else shapes
