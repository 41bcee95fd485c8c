"""The executor: results do not depend on where and in which order jobs run, and work that is stopped can go on."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import bayes_cpt as bc
from bayes_cpt.cli import main
from bayes_cpt.errors import ClusterError
from bayes_cpt.evaluation import backtest
from bayes_cpt.jobs import executor
from bayes_cpt.jobs.executor import check_address, place_of_work, run_jobs
from bayes_cpt.jobs.finished_jobs import begin
from bayes_cpt.runs.holdout import Holdout


class Number(NamedTuple):
    """The result of a job."""

    value: np.ndarray[Any, Any]


def number(value: float, seconds: float = 0.0) -> Number:
    time.sleep(seconds)
    return Number(np.array([value]))


def number_or_death(value: float, mark: Path) -> Number:
    """Return a number; the first process that does so dies, as if it were out of memory."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number(value)


def quiet(_name: str, _count: int, _jobs: int) -> None:
    return


def values(results: dict[str, Number]) -> dict[str, float]:
    return {name: float(result.value[0]) for name, result in results.items()}


# In this process -----------------------------------------------------------------------------------------------------


def test_results_have_the_order_of_the_jobs_whichever_ends_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(executor, "local_jobs", lambda: 3)
    jobs = {str(place): partial(number, place, 0.05 * (3 - place)) for place in range(3)}
    said: list[tuple[str, int, int]] = []
    with place_of_work() as place:
        results = run_jobs(place, jobs, lambda *one: said.append(one))
    assert list(values(results).items()) == [("0", 0), ("1", 1), ("2", 2)]
    assert {name for name, _count, _jobs in said} == set(jobs)
    assert [(count, jobs) for _name, count, jobs in said] == [(1, 3), (2, 3), (3, 3)]


def test_after_an_error_no_further_job_begins(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(executor, "local_jobs", lambda: 1)
    begun: list[int] = []

    def job(value: int) -> None:
        begun.append(value)
        time.sleep(0.05)
        raise ArithmeticError(value)

    with pytest.raises(ArithmeticError, match="0"), place_of_work() as place:
        run_jobs(place, {str(value): partial(job, value) for value in range(20)}, quiet)
    assert len(begun) < 20


def test_jobs_that_are_finished_on_disk_are_not_run_again(tmp_path: Path):
    key = {"seed": 1}
    with place_of_work() as place:
        run_jobs(place, {"a": partial(number, 1)}, quiet, begin(tmp_path / "folds", Number, key, resume=False))
        jobs = {"a": partial(number, 100), "b": partial(number, 2)}
        said: list[tuple[str, int, int]] = []
        resumed = begin(tmp_path / "folds", Number, key, resume=True)
        results = run_jobs(place, jobs, lambda *one: said.append(one), resumed)
        assert values(results) == {"a": 1, "b": 2}
        assert said == [("a", 1, 2), ("b", 2, 2)]
        anew = begin(tmp_path / "folds", Number, key, resume=False)
        assert values(run_jobs(place, jobs, quiet, anew)) == {"a": 100, "b": 2}


def test_an_interruption_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(executor, "local_jobs", lambda: 1)

    def stop(_name: str, _count: int, _jobs: int) -> None:
        raise KeyboardInterrupt

    folder = begin(tmp_path / "folds", Number, {}, resume=False)
    jobs = {str(value): partial(number, value, 0.01) for value in range(9)}
    with place_of_work() as place:
        results = run_jobs(place, jobs, stop, folder)
    assert len(results) == 1
    assert set(results) <= set(folder.read(jobs))


# The address of a cluster --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["", "tcp://", "10.0.0.1:8786", "http://10.0.0.1:8786", "tcp://10.0.0.1", "tcp://10.0.0.1:0", "tcp://:8786",
     "tcp://10.0.0.1:99999", "tcp://10.0.0.1:8786/x", "tcp://me@10.0.0.1:8786", "tcp://10.0.0.1:8786?x=1",
     "inproc://10.0.0.1:8786", "tcp://[::1:8786", "__import__('os')"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(ClusterError, match="write it as tcp://HOST:PORT"):
        check_address(address)


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "tls://cluster.example:8786", "tcp://[::1]:8786"])
def test_addresses_are_accepted(address: str):
    check_address(address)


def test_a_backtest_says_what_is_wrong_with_an_address_before_any_work(tiny: bc.Curves):
    for run in (partial(bc.backtest, tiny), partial(bc.compare, tiny, ["cpt", "cpt-replay"])):
        with pytest.raises(ClusterError, match="'here' is no address"):
            run(scheduler="here")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"needs the package distributed: install bayes-cpt\[cluster\]"):
        place_of_work("tcp://127.0.0.1:8786").__enter__()


class Client:
    """A client of workers with these versions of bayes_cpt."""

    def __init__(self, *versions: object) -> None:
        self.versions = versions

    def run(self, *_: object, **__: object) -> dict[str, object]:
        """Return what each worker answers."""
        return {f"tcp://10.0.0.{place}:80": found for place, found in enumerate(self.versions)}


def test_workers_without_this_version_of_bayes_cpt_are_refused():
    own = executor.version("bayes-cpt")
    executor._check_versions(Client(own, own))  # pyright: ignore[reportPrivateUsage]
    for other, words in (("0.0.1", r"\(0.0.1\)"), (ModuleNotFoundError("bayes-cpt"), r"\(none\)")):
        with pytest.raises(ClusterError, match=f"1 of 2 workers .* tcp://10.0.0.1:80 {words}: install {own} on them"):
            executor._check_versions(Client(own, other))  # pyright: ignore[reportPrivateUsage]


@pytest.mark.slow  # imports Dask
@pytest.mark.parametrize("listens", [True, False])
def test_an_address_that_does_not_answer_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch, listens: bool):
    monkeypatch.setattr(executor, "ANSWER_WITHIN", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address}"):
            place_of_work(address).__enter__()


@pytest.mark.slow  # imports Dask
def test_a_job_whose_workers_all_die_and_a_lost_scheduler_are_said_in_a_sentence():
    from concurrent.futures import Future  # noqa: PLC0415

    from distributed.scheduler import KilledWorker, WorkerState  # noqa: PLC0415

    dead: Future[None] = Future()
    dead.set_exception(KilledWorker("job", WorkerState.__new__(WorkerState), 3))
    with pytest.raises(ClusterError, match="all workers at tcp://a:1 that fold was given to have died"):
        executor._result(dead, "fold", "tcp://a:1")  # pyright: ignore[reportPrivateUsage]
    lost: Future[None] = Future()
    lost.cancel()
    with pytest.raises(ClusterError, match="the scheduler at tcp://a:1 was lost while fold was in work"):
        executor._result(lost, "fold", "tcp://a:1")  # pyright: ignore[reportPrivateUsage]


# A cluster of two processes ------------------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Start a cluster of two worker processes."""
    from distributed import LocalCluster  # noqa: PLC0415 - takes a second to import

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options, silence_logs=50) as started:
        yield started


@pytest.mark.slow
def test_no_job_is_lost_with_a_worker(cluster: Any, tmp_path: Path):
    jobs: dict[str, Callable[[], Number]] = {str(value): partial(number, value, 0.1) for value in range(8)}
    jobs["deadly"] = partial(number_or_death, 9, tmp_path / "mark")
    said: list[tuple[str, int, int]] = []
    folder = begin(tmp_path / "folds", Number, {}, resume=False)
    with place_of_work(cluster.scheduler_address) as place:
        found = values(run_jobs(place, jobs, lambda *one: said.append(one), folder))
    assert (tmp_path / "mark").exists()
    assert found == {**{str(value): value for value in range(8)}, "deadly": 9}
    assert found == values(folder.read(jobs))
    assert sorted(name for name, _count, _jobs in said) == sorted(jobs)  # each once


SHORT: dict[str, Any] = {"domains": ["pt"], "draws": 50, "tune": 50, "seed": 3}


@pytest.fixture
def reference(simulated: bc.Curves, prepared_cpt: bc.Prepared) -> bc.Backtest:
    """Return a backtest in this process that nothing disturbed."""
    return bc.backtest(simulated, "cpt", **SHORT)


@pytest.mark.slow
def test_a_backtest_on_a_cluster_that_loses_a_worker_is_the_same(
    cluster: Any, simulated: bc.Curves, reference: bc.Backtest, tmp_path: Path
):
    from distributed import Client  # noqa: PLC0415

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        victim = next(iter(client.run(os.getpid).values()))
    result = bc.backtest(
        simulated, "cpt", **SHORT, scheduler=cluster.scheduler_address,
        keep=tmp_path / "folds", done=lambda *_: kill_once(victim),
    )  # fmt: skip
    assert result.folds == reference.folds
    pd.testing.assert_frame_equal(result.points, reference.points, rtol=1e-9)


def kill_once(process: int) -> None:
    if Path(f"/proc/{process}").exists():
        os.kill(process, signal.SIGKILL)


# The command, killed -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_backtest_that_was_killed_goes_on_to_the_same_table(
    simulated: bc.Curves, reference: bc.Backtest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    bc.write_curves(simulated, "data")
    command = ["backtest", "data", "-m", "cpt", "--domains", "pt", "--draws", "50", "--tune", "50", "--seed", "3"]
    start = [sys.executable, "-c", "from bayes_cpt.cli.main import main; main()", *command]
    with subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not list(Path("backtest.folds").glob("*.npz")):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert not Path("backtest.csv").exists()

    refitted: list[str] = []
    fit_prepared = backtest.fit_prepared

    def recorded(prepared: bc.Prepared, settings: bc.SamplerSettings, left_out: Holdout, starts: Any) -> bc.Fit:
        refitted.append(left_out.name)
        return fit_prepared(prepared, settings, left_out, starts)

    monkeypatch.setattr(backtest, "fit_prepared", recorded)
    monkeypatch.setattr(sys, "argv", ["bayes-cpt", *command, "--resume"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code in {0, 1}
    assert len(refitted) == 1  # of two folds
    pd.testing.assert_frame_equal(bc.read_scores("backtest.csv"), reference.table, rtol=1e-9, check_dtype=False)
    assert not Path("backtest.folds").exists()
