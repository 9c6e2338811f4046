"""Order calls: `load`, `unload`, `label` and `reload`, by which a program tells servers what to serve.

Owns their words. How orders are given is `ordering.py`'s. Any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from predictd.routing import ordering
from predictd.routing.ordering import ORDER_TIMEOUT_MS

if TYPE_CHECKING:
    from predictd.order_result import OrderResult
    from predictd.routing.asking import Asking


class OrderCalls:
    """What `Client` has of them.

    Orders name models and versions that the server is configured with, never a path. Of several endpoints each is told,
    one after the other, until one fails.
    """

    asking: Asking

    def load(self, model: str, version: int | None = None, *, timeout_ms: float = ORDER_TIMEOUT_MS) -> OrderResult:
        """Serve a version of a model, and return when it is ready.

        The server looks at its files anew, loads, warms and checks the version beside those that it serves, and then
        lets go of those that its configuration does not want besides. One that is ready already, from the same files,
        is left as it is; one that failed is tried again. If the load fails, everything is served as before.

        Args:
            model: The model's name.
            version: Its version; None for the newest of those that the server's configuration wants, and then for what
                else it wants: what labels and the default name comes back with a model that was unloaded. One that it
                does not want stays until it is unloaded, or until `reload`.
            timeout_ms: What the call may take, in milliseconds. A load that has begun goes on without its caller.

        Raises:
            ModelNotFoundError, VersionNotFoundError: There is no such thing.
            ModelLoadError: It could not be loaded; the text says why.
            OverloadedError: Too many orders wait already.
            ServerDrainingError: The server was told to stop, before the order or during it.
            ServerUnavailableError: Nobody answers at the endpoint.
            DeadlineExceededError: The time is up.
            ConfigError: An argument is of the wrong kind.
        """
        return self._give(ordering.load(model, version), timeout_ms)

    def unload(self, model: str, version: int | None = None, *, timeout_ms: float = ORDER_TIMEOUT_MS) -> OrderResult:
        """Serve a version of a model no longer, and return when its memory is given back.

        Requests that it has are finished; new ones for it get an error that says what there is instead.

        Args:
            model: The model's name.
            version: Its version; None for all of the model, and for those that may come later. It stays so until `load`
                or `reload`.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            PredictdError: As `load`.
        """
        return self._give(ordering.unload(model, version), timeout_ms)

    def label(
        self, model: str, label: str, version: int | None, *, timeout_ms: float = ORDER_TIMEOUT_MS
    ) -> OrderResult:
        """Let a label ("stable", "canary") point at a version, or take it away, and return what was done.

        It holds over what the server's configuration says of that label until the server ends, also while its version
        or the whole model is unloaded. The load under way is not waited for, unless an earlier order for this model, or
        a `reload` of all, waits for it.

        Args:
            model: The model's name.
            label: The label; requests name it as their version.
            version: A version that is ready; None to take the label away. A version with a label is kept, whatever the
                server's configuration wants.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            VersionNotFoundError: That version is not loaded, or there is no such label to take away.
            PredictdError: As `load`.
        """
        return self._give(ordering.label(model, label, version), timeout_ms)

    def reload(self, model: str | None = None, *, timeout_ms: float = ORDER_TIMEOUT_MS) -> OrderResult:
        """Look again at what there is of a model, serve what is wanted and no more, and return what was done.

        New versions and changed files are loaded, what failed is tried again, and what was loaded or unloaded by order
        is forgotten; labels stay.

        Args:
            model: The model's name; None for all.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            ModelLoadError: Something could not be loaded; the text says what, and what was done besides.
            PredictdError: As `load`.
        """
        return self._give(ordering.reload(model), timeout_ms)

    def _give(self, make: ordering.MakeOrder, timeout_ms: float) -> OrderResult:
        return ordering.give_order(self.asking, make, self.asking.deadline(timeout_ms))
