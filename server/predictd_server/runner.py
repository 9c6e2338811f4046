"""The seam between the server and a model: what a loaded graph is to the rest of the daemon.

Owns the protocol that every way of running a graph follows, and the records a load ends in. Knows numpy and the wire's
specs only; TensorFlow stays behind it. Made on the loader thread; whoever runs a batch calls `run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from predictd_proto.metadata import SignatureSpec
from predictd_server.trials.recording import Recording

Arrays = Sequence[NDArray[Any]]


class Synthesis(Protocol):
    """Makes valid made-up inputs."""

    def __call__(self, rows: int, seed: int = 0, length: int | None = None) -> Arrays:
        """Return inputs of a number of rows.

        Args:
            rows: The length of each free axis 0.
            seed: Chooses the values.
            length: The length of the other free axes; None for one that the graph takes.
        """
        ...


class Runner(Protocol):
    """Runs one signature's graph.

    Attributes:
        kind: How it runs: "session", "session-v1", "session-xla", "concrete-function", "jax-jit", "torch-eager".
    """

    kind: str

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once.

        Args:
            inputs: In the order of `SignatureSpec.inputs`, of exactly its dtypes, C-contiguous and in the machine's
                own byte order: TensorFlow reads the memory as it is. Memory aligned to 64 bytes is not copied.

        Returns:
            In the order of `SignatureSpec.outputs`. Read-only views of TensorFlow's memory, valid while they are held;
            one may share an input's memory. Copy before that memory is used again.
        """
        ...

    def close(self) -> None:
        """Release the graph's memory. Not while a run is on; closing twice is fine."""
        ...


@runtime_checkable
class CompilingRunner(Protocol):
    """A runner that compiles a program for each shape of its inputs, the warm-up's and those that it meets later.

    Attributes:
        traces: How many it has compiled.
    """

    traces: int


@dataclass(frozen=True, slots=True)
class LoadedSignature:
    """One signature that can be run.

    Attributes:
        spec: Its inputs and outputs.
        runner: Runs it. Signatures that are two names of one graph share a runner.
        are_rows_independent: False when the loader saw a row's answer change with its neighbours (or answers that
            have not one row per row). Rows of several requests must then not be merged, padded or split.
        synthesise: Makes valid made-up inputs of a number of rows; None when the graph takes none that were tried.
        recordings: Requests recorded beside the model.
        is_repeatable: Whether the loader saw the same inputs give the same answer twice, and nothing change by it.
    """

    spec: SignatureSpec
    runner: Runner
    are_rows_independent: bool = True
    synthesise: Synthesis | None = None
    recordings: tuple[Recording, ...] = ()
    is_repeatable: bool = False


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model after its load.

    Attributes:
        signatures: By name.
        default_signature: The name of the one to run when a request names none.
        parameters: Number of weights; None when unknown.
        digest: "sha256:..." of its file or directory.
        source: Where it was loaded from.
        weight_bytes: Size of the weights; None when unknown.
        notes: What an operator should know about how it is served; often empty.
        traces: How many graphs were traced for it. Serving traces no more.
    """

    signatures: dict[str, LoadedSignature]
    default_signature: str
    parameters: int | None
    digest: str
    source: str
    weight_bytes: int | None = None
    notes: tuple[str, ...] = ()
    traces: int = 0

    def traced(self) -> int:
        """Return how many graphs and programs were made for it until now."""
        runners = [signature.runner for signature in self.signatures.values()]
        return self.traces + sum(runner.traces for runner in runners if isinstance(runner, CompilingRunner))

    def close(self) -> None:
        """Release every signature's graph. Not while a run is on; closing twice is fine."""
        for signature in self.signatures.values():
            signature.runner.close()
