"""What kombu makes of the serializer `predictd`: found without an import, refused in its own words."""

from __future__ import annotations

import subprocess
import sys

import pytest
from kombu.exceptions import ContentDisallowed, DecodeError, EncodeError
from kombu.serialization import dumps, loads, registry

from predictd_celery.kombu_serializer import CONTENT_TYPE
from predictd_celery.message_codec import encode


def test_kombu_knows_it_without_an_import_of_ours_and_takes_neither_numpy_nor_celery_for_it() -> None:
    code = """
import sys
from kombu.serialization import registry
assert registry.name_to_type["predictd"] == "application/x-predictd"
assert not {"numpy", "celery", "zmq"} & set(sys.modules), sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_ready_app_knows_it_where_predictd_is_not_installed() -> None:
    code = """
import importlib.metadata as metadata
found = metadata.entry_points
metadata.entry_points = lambda **words: [] if words.get("group") == "kombu.serializers" else found(**words)
from kombu.serialization import registry
assert "predictd" not in registry.name_to_type
import predictd_celery
assert predictd_celery.app.conf.accept_content == ["json", "predictd"]
assert registry.name_to_type["predictd"] == "application/x-predictd"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_its_errors_are_kombu_s_with_our_text() -> None:
    with pytest.raises(EncodeError, match="nothing is ever pickled"):
        dumps(object(), serializer="predictd")
    with pytest.raises(DecodeError, match="at its start"):
        loads(b"\x80\x04 no message of ours", CONTENT_TYPE, "binary", accept={CONTENT_TYPE})


def test_it_is_refused_where_it_is_not_accepted() -> None:
    content_type, encoding, payload = dumps([1], serializer="predictd")
    assert (content_type, encoding) == (CONTENT_TYPE, "binary")
    with pytest.raises(ContentDisallowed, match="Refusing to deserialize untrusted content of type predictd"):
        loads(payload, content_type, encoding, accept={"application/json"})


def test_the_database_backend_takes_no_message_for_a_pickle() -> None:
    # It unpickles what it can't read and what begins with this byte.
    assert encode(1)[:1] != b"\x80"
    assert registry.type_to_name[CONTENT_TYPE] == "predictd"
