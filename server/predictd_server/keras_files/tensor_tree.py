"""Trees of tensors: how Keras nests inputs and outputs, as names and back.

Owns the walk over lists, tuples and dicts in the order in which Keras flattens them. It knows no model. Loader thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from predictd_proto.structures import Structure


def leaves(tree: Any) -> list[Any]:
    """Return a tree's leaves, in order."""
    return [leaf for _, leaf in leaves_with_keys(tree)]


def leaves_with_keys(tree: Any, key: str | None = None) -> Iterator[tuple[str | None, Any]]:
    """Yield each leaf with the dict key right above it, None where a list or nothing is above."""
    if isinstance(tree, Mapping):
        for name, child in tree.items():
            yield from leaves_with_keys(child, str(name))
    elif isinstance(tree, (list, tuple)):
        for child in tree:
            yield from leaves_with_keys(child)
    else:
        yield key, tree


def leaves_with_paths(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield each leaf with the keys and indices that lead to it."""
    if isinstance(tree, Mapping):
        for name, child in tree.items():
            yield from leaves_with_paths(child, (*path, str(name)))
    elif isinstance(tree, (list, tuple)):
        for index, child in enumerate(tree):
            yield from leaves_with_paths(child, (*path, index))
    else:
        yield path, tree


def rebuild(tree: Any, values: Iterator[Any]) -> Any:
    """Return the tree with its leaves replaced, in order; tuples become lists."""
    if isinstance(tree, Mapping):
        return {name: rebuild(child, values) for name, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [rebuild(child, values) for child in tree]
    return next(values)


def structure_of(tree: Any, names: list[str]) -> Structure:
    """Return a tree's structure, its leaves named in order. A list of one tensor is that tensor, as in Keras."""
    structure: Structure = rebuild(tree, iter(names))
    while isinstance(structure, list) and len(structure) == 1:
        structure = structure[0]
    return structure


def unique_names(wanted: list[str]) -> list[str]:
    """Return the names with a number behind those that occurred before (a layer of several outputs has one name)."""
    unique: list[str] = []
    for name in wanted:
        candidate, number = name, 1
        while candidate in unique:
            candidate, number = f"{name}_{number}", number + 1
        unique.append(candidate)
    return unique
