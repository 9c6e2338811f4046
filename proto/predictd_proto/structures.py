"""Structures: how a model's tensors are nested when a caller hands them in or gets them back.

A structure is a JSON-safe tree whose leaves are tensor names: `"x"`, `["a", "b"]`, `{"image": "a", "meta": ["b"]}`.
Owns walking and filling such trees; knows nothing of arrays. Any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, Union

from predictd_proto.checks import shown
from predictd_proto.errors import LocalProtocolError

Structure = Union[str, "list[Structure]", "dict[str, Structure]"]
Value = TypeVar("Value")

#: Deeper trees are refused: no model nests this far, and a peer must not make us recurse.
MAX_DEPTH = 16


def leaf_names(structure: Structure) -> list[str]:
    """Return the tensor names of a structure, in order."""
    if isinstance(structure, str):
        return [structure]
    children = structure.values() if isinstance(structure, dict) else structure
    return [name for child in children for name in leaf_names(child)]


def fill_structure(structure: Structure, values: Mapping[str, Value]) -> object:
    """Return the structure with each tensor name replaced by its value.

    Raises:
        KeyError: A name has no value.
    """
    if isinstance(structure, str):
        return values[structure]
    if isinstance(structure, dict):
        return {key: fill_structure(child, values) for key, child in structure.items()}
    return [fill_structure(child, values) for child in structure]


def check_structure(structure: object, depth: int = 0) -> Structure:
    """Return the object as a structure, tuples turned into lists.

    Raises:
        LocalProtocolError: It is no tree of names, or too deep.
    """
    if isinstance(structure, str):
        return structure
    if depth >= MAX_DEPTH:
        text = f"a structure: expected at most {MAX_DEPTH} levels of lists and dicts, got more"
        raise LocalProtocolError(text)
    if isinstance(structure, (list, tuple)):
        return [check_structure(child, depth + 1) for child in structure]
    if isinstance(structure, dict) and all(isinstance(key, str) for key in structure):
        return {key: check_structure(child, depth + 1) for key, child in structure.items()}
    text = f"a structure: expected tensor names in lists and dicts with text keys, got {shown(structure)}"
    raise LocalProtocolError(text)
