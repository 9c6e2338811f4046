"""supervisord.conf is read by supervisor itself, with none of its variables set."""

from __future__ import annotations

import stat

import pytest
from supervisor.options import ServerOptions

from tests.house.checkout import CHECKOUT


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> ServerOptions:
    for name in ("MODELS", "ENDPOINT", "BROKER_URL", "CELERY_CONCURRENCY", "CONFIG"):
        monkeypatch.delenv(f"PREDICTD_{name}", raising=False)
    read = ServerOptions()
    read.realize(["-c", str(CHECKOUT / "supervisord.conf")])
    return read


def test_broker_first_then_predictd_then_worker(options: ServerOptions) -> None:
    groups = sorted(options.process_group_configs, key=lambda group: int(group.priority))
    assert [group.name for group in groups] == ["broker", "predictd", "worker"]


def test_each_comes_back_however_it_ended(options: ServerOptions) -> None:
    for group in options.process_group_configs:
        (program,) = group.process_configs
        assert program.autostart
        assert program.autorestart.__name__ == "RestartUnconditionally"
        assert program.killasgroup
        # To the parent alone: it ends its own children, in order.
        assert not program.stopasgroup


def test_nobody_else_gives_orders(options: ServerOptions) -> None:
    (server,) = options.server_configs
    assert server["section"] == "unix_http_server"
    assert stat.S_IMODE(server["chmod"]) == 0o700
    assert options.umask == 0o077
