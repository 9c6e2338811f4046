"""What may happen to a daemon, with real processes: callers get a clear error or a right answer, never silence."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import predictd
from predictd_proto import errors
from predictd_proto.endpoints import Endpoint
from tests.daemon_process import DaemonProcess, clean_environment
from tests.faults.situations import in_thread, served_sleeper, sleep_for
from tests.make_models import SLEEP_BASE
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def test_the_socket_is_for_its_owner_alone_and_gone_after_a_stop(start_daemon, models) -> None:
    daemon = start_daemon(models / "mlp.keras")
    path = Path(Endpoint.parse(daemon.endpoint).path or "")
    for name in (path, Path(f"{path}.control"), Path(f"{path}.lock")):
        assert stat.S_IMODE(name.stat().st_mode) == 0o600, name
    assert daemon.stop() == 0
    assert not path.exists()


def test_server_and_client_meet_with_no_settings_at_all(models, run_directory, digits) -> None:
    environment = clean_environment(XDG_RUNTIME_DIR=str(run_directory))
    program = (
        "import numpy as np, predictd, sys; x = np.load(sys.argv[1])['x'][:2];"
        "print(predictd.RemoteModel('mlp').predict(x).shape)"
    )
    serve = subprocess.Popen(
        [sys.executable, "-m", "predictd", "serve", str(models / "mlp.keras")],
        env=environment,
        cwd=run_directory,
        stderr=subprocess.DEVNULL,
    )
    try:
        subprocess.run(
            [sys.executable, "-m", "predictd", "status", "--wait", "240"], env=environment, check=True, timeout=260
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(models / "mlp.npz")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.strip() == "(2, 10)", done.stderr
    finally:
        serve.terminate()
        try:
            assert serve.wait(60) == 0
        finally:
            serve.kill()
            serve.wait()


def test_killed_with_requests_in_flight_callers_are_told_and_go_on_after_the_restart(start_daemon, models) -> None:
    daemon, client = served_sleeper(start_daemon, models, timeout_ms=60_000)
    threads = [in_thread(lambda: client.predict("sleeper", sleep_for(30))) for _ in range(3)]
    wait_until(lambda: daemon.status().running_ms > 0 and daemon.status().queued_requests == 2)
    daemon.kill()
    for thread, results in threads:
        thread.join(60)
        assert isinstance(results[0], errors.ServerLostError), results
    daemon.start()
    assert client.predict("sleeper", sleep_for(0)).outputs.shape == (1,)


def test_a_retrying_caller_does_not_notice_a_restart(start_daemon, models) -> None:
    daemon = start_daemon(models / "sleeper")
    client = daemon.client(timeout_ms=250_000, connect_timeout_ms=250_000)
    thread, results = in_thread(lambda: client.predict("sleeper", sleep_for(2)))
    wait_until(lambda: daemon.status().running_ms > 0)
    daemon.kill()
    daemon.start(wait=False)
    thread.join(260)
    assert isinstance(results[0], predictd.Prediction), results


def test_a_stopped_process_costs_callers_their_own_deadline_and_no_more(start_daemon, models, digits) -> None:
    daemon = start_daemon(models / "mlp.keras")
    x, y = digits
    with daemon.client() as client:
        client.predict("mlp", x[:1])
        daemon.pause()
        with pytest.raises(errors.DeadlineExceededError, match=r"mlp"):
            client.predict("mlp", x[:1], timeout_ms=500)
        with pytest.raises(predictd.PredictdError, match=r"p\.sock"):
            daemon.client(connect_timeout_ms=500).predict("mlp", x[:1], timeout_ms=2000)
        daemon.resume()
        np.testing.assert_allclose(client.predict("mlp", x[:1]).outputs, y[:1], rtol=1e-4)


def test_a_second_server_on_the_path_is_refused_and_the_first_goes_on(start_daemon, models, digits) -> None:
    first = start_daemon(models / "mlp.keras")
    second = DaemonProcess(first.directory, str(models / "mlp.keras"))
    second.log_path = first.directory / "second.log"
    second.start(wait=False)
    try:
        assert second.wait() == 78
    finally:
        second.kill()
    assert f"already served by process {first.pid}" in second.log
    with first.client() as client:
        assert client.predict("mlp", digits[0][:1]).outputs.shape == (1, 10)


def test_a_stale_socket_file_is_replaced(start_daemon, models, run_directory) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(run_directory / "p.sock"))
    assert start_daemon(models / "mlp.keras").status().is_ready


def test_after_sigkill_the_next_server_takes_the_path_over(start_daemon, models) -> None:
    daemon = start_daemon(models / "mlp.keras")
    daemon.kill()
    assert daemon.start().status().is_ready


def test_a_full_disk_for_the_socket_is_a_clear_error(start_daemon, models, run_directory) -> None:
    tiny = run_directory / "tiny"
    tiny.mkdir()
    # One page and two inodes: the directory itself and nothing else fits.
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1,mode=700", "tmpfs", str(tiny)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount: {mounted.stderr.decode().strip()}")
    try:
        daemon = start_daemon(models / "mlp.keras", wait=False, endpoint=f"ipc://{tiny}/p.sock")
        assert daemon.wait() == 78
        assert "No space left on device" in daemon.log
        assert "Traceback" not in daemon.log
    finally:
        # Lazily: where the daemon is still there, the mount goes when that is ended.
        subprocess.run(["umount", "-l", str(tiny)], check=True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{models}/nothing.keras"], 78, "nothing.keras"),
        ([], 78, "no model given"),
        (["{models}/mlp.keras", "{models}/mlp.keras"], 78, "mlp"),
        (["{models}/mlp.keras", "--max-batch-size", "many"], 78, "flag --max-batch-size"),
        (["{models}/mlp.keras", "--max-bach-size", "3"], 2, "--max-batch-size"),
        (["{models}/mlp.keras", "--endpoint", "tcp://0.0.0.0:5999"], 78, "other machines could reach it"),
        (["{models}/mlp.keras", "--endpoint", "http://x"], 78, "expected ipc:///absolute/path or tcp://host:port"),
        (["{models}/mlp.keras", "--endpoint", "ipc:///" + "x" * 120], 78, "choose a shorter one"),
        (["{models}/mlp.npz"], 78, "mlp.npz"),
    ],
)
def test_a_wrong_command_line_ends_at_once_and_says_why(models, run_directory, arguments, code, said) -> None:
    command = [sys.executable, "-m", "predictd", "serve", *(text.format(models=models) for text in arguments)]
    environment = clean_environment(XDG_RUNTIME_DIR=str(run_directory))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_variable_is_named(models, run_directory) -> None:
    environment = clean_environment(XDG_RUNTIME_DIR=str(run_directory), PREDICTD_MAX_BACH_SIZE="3")
    command = [sys.executable, "-m", "predictd", "serve", str(models / "mlp.keras")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert "did you mean PREDICTD_MAX_BATCH_SIZE?" in done.stderr


def test_a_broken_model_does_not_take_the_good_ones_down(start_daemon, models, run_directory, digits) -> None:
    broken = run_directory / "broken.keras"
    broken.write_bytes((models / "mlp.keras").read_bytes()[:2000])
    daemon = start_daemon(models / "mlp.keras", f"bad={broken}", wait=False)
    wait_until(lambda: "ready after" in daemon.log or (daemon.process and daemon.process.poll() is not None), 60)
    if daemon.process and daemon.process.poll() is not None:
        # Refused before anything was loaded: the file is visibly not what its name says.
        assert daemon.wait() == 78
        assert "broken.keras" in daemon.log
        return
    with daemon.client() as client:
        assert client.predict("mlp", digits[0][:1]).outputs.shape == (1, 10)
        with pytest.raises(errors.ModelLoadError, match="bad"):
            client.predict("bad", digits[0][:1])


def test_sigterm_finishes_what_was_admitted_and_exits_0(start_daemon, models) -> None:
    daemon, client = served_sleeper(start_daemon, models)
    batches = daemon.status().counters["batches_total"]
    running, results = in_thread(lambda: client.predict("sleeper", sleep_for(2)))
    wait_until(lambda: daemon.status().counters["batches_total"] > batches)
    daemon.signal(signal.SIGTERM)
    running.join(60)
    assert isinstance(results[0], predictd.Prediction), results
    assert daemon.wait() == 0


def test_a_draining_server_refuses_new_work_at_once(start_daemon, models) -> None:
    daemon, client = served_sleeper(start_daemon, models, "--drain-timeout-s", "500", timeout_ms=600_000)
    running, results = in_thread(lambda: client.predict("sleeper", sleep_for(500)))
    wait_until(lambda: daemon.status().running_ms > 0)
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: daemon.status().state == "draining")
    with pytest.raises(errors.ServerDrainingError):
        client.predict("sleeper", sleep_for(0))
    daemon.signal(signal.SIGTERM)
    # Told twice, it leaves at once.
    assert daemon.wait() == 128 + signal.SIGTERM
    running.join(60)
    assert isinstance(results[0], errors.ServerLostError), results


def test_a_drain_has_an_end_and_what_is_left_gets_a_retryable_error(start_daemon, models) -> None:
    daemon, client = served_sleeper(start_daemon, models, "--drain-timeout-s", "1")
    calls = [in_thread(lambda: client.predict("sleeper", sleep_for(100))) for _ in range(2)]
    wait_until(lambda: daemon.status().running_ms > 0 and daemon.status().queued_requests == 1)
    daemon.signal(signal.SIGTERM)
    for thread, results in calls:
        thread.join(60)
        assert isinstance(results[0], errors.RetryableError), results
    assert daemon.wait() == 0


def test_status_and_metadata_answer_while_a_long_batch_runs(start_daemon, models) -> None:
    daemon, client = served_sleeper(start_daemon, models)
    thread, results = in_thread(lambda: client.predict("sleeper", sleep_for(3)))
    wait_until(lambda: daemon.status().running_ms > 0)
    status = daemon.status()
    assert status.responsive
    assert client.models("sleeper")[0].is_ready
    thread.join(60)
    assert isinstance(results[0], predictd.Prediction), results


def test_a_run_that_never_ends_ends_the_process_for_the_supervisor(start_daemon, models) -> None:
    daemon = start_daemon(models / "sleeper", "--stuck-after-s", "2")
    client = daemon.client(retries=None)
    thread, results = in_thread(lambda: client.predict("sleeper", sleep_for(10_000)))
    assert daemon.wait() == 70
    thread.join(60)
    assert isinstance(results[0], errors.ServerLostError), results
    assert "stuck_after_s" in daemon.log


def test_a_full_queue_refuses_with_the_time_to_come_back(start_daemon, models) -> None:
    daemon, client = served_sleeper(start_daemon, models, "--max-queue-rows", "64")
    running, _ = in_thread(lambda: client.predict("sleeper", sleep_for(500)))
    wait_until(lambda: daemon.status().running_ms > 0)
    waiting, results = in_thread(lambda: client.predict("sleeper", np.full(64, SLEEP_BASE, np.float32)))
    wait_until(lambda: daemon.status().queued_rows == 64)
    with pytest.raises(errors.OverloadedError) as caught:
        client.predict("sleeper", sleep_for(0))
    assert caught.value.retry_after_ms
    # Neither has to be waited for.
    daemon.kill()
    running.join(60)
    waiting.join(60)
    assert isinstance(results[0], errors.ServerLostError), results


def test_fork_after_use_works_in_child_and_parent(daemon, digits) -> None:
    x, y = digits
    client = daemon.client()
    np.testing.assert_allclose(client.predict("mlp", x[:1]).outputs, y[:1], rtol=1e-4)
    pid = os.fork()
    if pid == 0:
        try:
            got = client.predict("mlp", x[1:2]).outputs
            os._exit(0 if np.allclose(got, y[1:2], rtol=1e-4) else 1)
        except BaseException:
            os._exit(2)
    np.testing.assert_allclose(client.predict("mlp", x[2:3]).outputs, y[2:3], rtol=1e-4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_many_threads_of_many_processes_each_get_their_own_answers(daemon, digits) -> None:
    program = (
        "import sys, threading, numpy as np, predictd\n"
        "saved = np.load(sys.argv[1]); x, y = saved['x'], saved['y']; client = predictd.Client(sys.argv[2]); bad = []\n"
        "def work(first):\n"
        "    for i in range(first, first + 50):\n"
        "        got = client.predict('mlp', x[i % 200:i % 200 + 1]).outputs\n"
        "        if not np.allclose(got, y[i % 200], rtol=1e-3, atol=1e-5): bad.append(i)\n"
        "threads = [threading.Thread(target=work, args=(7 * n,)) for n in range(16)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "sys.exit(len(bad))\n"
    )
    saved = Path(daemon.arguments[0]) / "mlp.npz"
    command = [sys.executable, "-c", program, str(saved), daemon.endpoint]
    processes = [subprocess.Popen(command, env=clean_environment()) for _ in range(3)]
    try:
        assert [process.wait(240) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert daemon.status().counters["requests_failed_total"] == 0
