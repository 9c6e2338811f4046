"""A request to tune a model, from its arguments to what is printed and written.

Owns the order look -> measure -> tell -> write. Nothing is written before everything is measured. Main thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import reduce
from operator import or_
from pathlib import Path

from predictd_proto.endpoints import Endpoint, default_endpoint
from predictd_proto.errors import ConfigError
from predictd_proto.quantities import counted
from predictd_server.models.contents import size_bytes
from predictd_server.processors import usable_processors
from predictd_server.settings import Settings
from predictd_server.settings_sources import load_settings
from predictd_server.tuning.configuration import ConfigurationFile, snippet
from predictd_server.tuning.found import Budget, Found, Goal
from predictd_server.tuning.plot import svg_plot, terminal_plot
from predictd_server.tuning.report import batches_line, chosen, comments, outcome_table, table_of_sizes
from predictd_server.tuning.search import search
from predictd_server.tuning.surroundings import available_bytes, check_memory, disturbances, machine
from predictd_server.tuning.target import Target, find_target
from predictd_server.tuning.trial import Start, Trial, TrialProcess
from predictd_server.tuning.uninterrupted import uninterrupted
from predictd_server.tuning.variant import Variant, candidates

#: What may be tried; `batch_sizes` is no candidate like the others, but what is found last.
BATCH_SIZES = "batch_sizes"
TUNABLE = ("xla", "intra_op_threads", "onednn", BATCH_SIZES)

#: What a process takes before there is any model in it, and how many times its file a model takes while it is loaded.
_LIBRARIES_BYTES = 450 << 20
_LOAD_TIMES = 3

#: How the origin of what the environment sets begins.
_ENVIRONMENT = "environment "


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        model: A name in the configuration, or a path.
        budget: How much is measured; what the settings bound is bounded further.
        goal: What has to get better.
        config: The configuration file; None for none.
        only: The settings to try; empty for all.
        is_shared: Whether the server's settings are written where it has other models too.
        is_written: Whether anything is written into the configuration.
        output: The directory for the plot; None for none.
    """

    model: str
    budget: Budget
    goal: Goal
    config: str | None = None
    only: tuple[str, ...] = ()
    is_shared: bool = False
    is_written: bool = True
    output: Path | None = None


def run_tuning(
    request: Request, *, say: Callable[[str], None], tell: Callable[[str], None], start: Start | None = None
) -> None:
    """Measure, tell and write.

    Args:
        request: What is asked for.
        say: Prints results.
        tell: Prints what is being done.
        start: Starts a trial; None for a process each.

    Raises:
        ConfigError: A setting, the model's path or the configuration file is wrong, or memory is short.
        ModelLoadError: The model can't be served as it is set.
    """
    settings = load_settings(flags={}, models=(), environ=os.environ, config=request.config)
    target = find_target(settings, request.model)
    processors = usable_processors()
    variants = list(_variants(request, settings, target, processors, tell))
    file = _file_to_write(request, settings, target, variants)
    if request.output is not None:
        _make_directory(request.output)
    endpoint = Endpoint.parse(settings.endpoint) if settings.endpoint else default_endpoint()
    for text in disturbances(endpoint, processors):
        tell(f"warning: {text}")
    found = search(
        start or _processes(request, target),
        variants,
        request.goal,
        _bounded(request.budget, settings, target),
        tell,
        are_sizes_tried=_is_tried(request, BATCH_SIZES),
        are_server_settings_kept=_is_server_written(request, target),
    )
    where = f"{datetime.now(timezone.utc).date()}, {machine(processors)}"
    _say_found(target, found, where, say)
    with uninterrupted():
        _write_found(request, target, found, where, file, say)
        if request.output is not None:
            _draw(request.output, target, found, where, say)


def _is_tried(request: Request, name: str) -> bool:
    return not request.only or name in request.only


def _is_server_written(request: Request, target: Target) -> bool:
    """Whether what all models share is for this one to decide."""
    return request.is_shared or not target.others


def _file_to_write(
    request: Request, settings: Settings, target: Target, variants: list[Variant]
) -> ConfigurationFile | None:
    if not request.config or not request.is_written:
        return None
    origin = settings.origins.get("models", "")
    if not target.is_configured or origin.startswith(_ENVIRONMENT):
        why = f"; the models are those of the {origin}" if origin.startswith(_ENVIRONMENT) else ""
        text = (
            f"configuration file {request.config}: {request.model} is no model of it{why}; add it to its [models] "
            "first, tune one of those, or use --dry-run"
        )
        raise ConfigError(text)
    possible = reduce(or_, variants, Variant(model={"batch_sizes": (1,)} if _is_tried(request, BATCH_SIZES) else {}))
    if not _is_server_written(request, target):
        possible = Variant(model=possible.model)
    return ConfigurationFile(Path(request.config), target.model.name, possible)


def _variants(
    request: Request, settings: Settings, target: Target, processors: int, tell: Callable[[str], None]
) -> Iterator[Variant]:
    told: set[str] = set()
    for variant in candidates(settings, target.model, processors):
        if not all(_is_tried(request, name) for name in (*variant.server, *variant.model)):
            continue
        fixed = [name for name in variant.server if settings.origins.get(name, "").startswith(_ENVIRONMENT)]
        if not fixed:
            yield variant
        for name in {*fixed} - told:
            told.add(name)
            tell(f"warning: {name} is not tried: {settings.origins[name]} sets it, whatever a file says")


def _bounded(budget: Budget, settings: Settings, target: Target) -> Budget:
    queue_rows = target.model.max_queue_rows or settings.max_queue_rows
    return replace(budget, most_bytes=settings.max_batch_bytes, most_rows=min(budget.most_rows, queue_rows))


def _processes(request: Request, target: Target) -> Start:
    """Return what starts trials in processes, as far as there is memory for one more."""
    needed_bytes = _LIBRARIES_BYTES + _LOAD_TIMES * size_bytes(target.file.path)

    def start(variant: Variant) -> Trial:
        nonlocal needed_bytes
        check_memory(needed_bytes, available_bytes(), f"trying {target.model.name} ({variant})")
        trial = TrialProcess(request.model, request.config, variant)
        needed_bytes = max(needed_bytes, trial.loaded.memory_bytes)
        return trial

    return start


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"--output {path}: can't be made a directory: {error.strerror}; name another one"
        raise ConfigError(text) from error
    if not os.access(path, os.W_OK):
        text = f"--output {path}: can't be written to; name another one"
        raise ConfigError(text)


def _most(found: Found) -> int | None:
    if found.batches is None:
        return None
    return (found.batches.sizes if found.batches.is_kept else found.batches.before)[-1]


def _say_found(target: Target, found: Found, where: str, say: Callable[[str], None]) -> None:
    say(f"{target.model.name} version {target.file.version}: {where}\n")
    say(outcome_table(found))
    say(f"\n{terminal_plot(found.durations_s, _most(found))}\n")
    if found.batches is not None:
        say(f"{batches_line(found.batches)}\n")


def _draw(output: Path, target: Target, found: Found, where: str, say: Callable[[str], None]) -> None:
    name = target.model.name
    try:
        drawn = svg_plot(f"{name}: {where}", found.durations_s, _most(found))
        (output / f"{name}.svg").write_text(drawn, encoding="utf-8")
        sizes = sorted(found.durations_s.items())
        (output / f"{name}.csv").write_text(table_of_sizes(sizes), encoding="utf-8")
    except OSError as error:
        text = f"--output {output}: the plot can't be written: {error.strerror}; all else is done, as said above"
        raise ConfigError(text) from error
    say(f"plot: {output / name}.svg")


def _write_found(
    request: Request,
    target: Target,
    found: Found,
    where: str,
    file: ConfigurationFile | None,
    say: Callable[[str], None],
) -> None:
    best, said, name = chosen(found), comments(found, where), target.model.name
    if found.advised.server:
        say(
            f"not written, because {counted(target.others, 'other model')}, not measured, would have it too (--server "
            f"writes it):\n\n{snippet(name, found.advised, said)}\n"
        )
    if not best.server and not best.model:
        say("nothing else is faster by more than the noise: the settings stay as they are")
    elif file is None:
        say(f"found, and written nowhere:\n\n{snippet(name, best, said)}")
    else:
        file.write(name, best, said)
        say(f"written into {request.config}:\n\n{snippet(name, best, said)}")
