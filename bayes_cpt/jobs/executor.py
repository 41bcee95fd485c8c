"""Run named, independent jobs: in this process, or on the workers of a Dask cluster."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from bayes_cpt.errors import ClusterError
from bayes_cpt.jobs.finished_jobs import FinishedJobs

if TYPE_CHECKING:
    from distributed import Client

ANSWER_WITHIN = 10
"""Seconds within which a scheduler must answer."""


def local_jobs() -> int:
    """Return how many jobs run in this process at the same time: each samples two blocks of parameters or so."""
    return max(1, (os.cpu_count() or 1) // 2)


class Place(NamedTuple):
    """Where jobs run: a pool, and the address of its scheduler if it is a cluster."""

    pool: Executor
    scheduler: str | None = None


@contextmanager
def place_of_work(scheduler: str | None = None) -> Iterator[Place]:
    """Yield where jobs run; at the end, those that have not begun are dropped.

    Parameters
    ----------
    scheduler
        Address of the scheduler of a Dask cluster; None for threads of this process.

    Raises
    ------
    ClusterError
        If the address is none, nothing answers there, or the package ``distributed`` is not installed.
    """
    if scheduler is None:
        pool = ThreadPoolExecutor(local_jobs())
        try:
            yield Place(pool)
        finally:
            pool.shutdown(cancel_futures=True)
        return
    with _connected(scheduler) as client:
        pool = client.get_executor(pure=False)  # Dask must not look for an older job that seems the same
        try:
            yield Place(pool, scheduler)
        finally:
            pool.shutdown(wait=False)


def run_jobs[T](
    place: Place,
    jobs: Mapping[str, Callable[[], T]],
    done: Callable[[str, int, int], None],
    finished: FinishedJobs[T] | None = None,
) -> dict[str, T]:
    """Run jobs; if interrupted, return the results until then.

    Parameters
    ----------
    place
        Where they run.
    jobs
        By name; on a cluster, functions that can be pickled, such as a `functools.partial` of a function of a module.
        Their results must not depend on the order in which they run.
    done
        Called after each job with its name, the number of jobs done, and the number of all jobs.
    finished
        Results on disk: those that are there are read, and each further one is written as it comes.

    Returns
    -------
    dict
        Results by name, in the order of the jobs.

    Raises
    ------
    KeyboardInterrupt
        If interrupted before any was done.
    ClusterError
        If the cluster was lost, or lost all workers that a job was given to.
    """
    results: dict[str, T] = {}

    def keep(name: str, result: T) -> None:
        results[name] = result
        done(name, len(results), len(jobs))

    try:
        for name, result in (finished.read(jobs) if finished else {}).items():
            keep(name, result)
        running = {place.pool.submit(job): name for name, job in jobs.items() if name not in results}
        for future in as_completed(running):
            result = _result(future, running[future], place.scheduler)
            if finished:
                finished.write(running[future], result)
            keep(running[future], result)
    except KeyboardInterrupt:
        if not results:
            raise
    return {name: results[name] for name in jobs if name in results}


def _result[T](future: Future[T], name: str, scheduler: str | None) -> T:
    """Return the result of a job; what only a cluster can do to it is said in a sentence."""
    try:
        return future.result()
    except CancelledError as error:
        raise ClusterError(f"the scheduler at {scheduler} was lost while {name} was in work") from error
    except Exception as error:
        if scheduler is None or not _is_loss_of_workers(error):
            raise
        raise ClusterError(
            f"all workers at {scheduler} that {name} was given to have died, perhaps for lack of memory"
        ) from error


def _is_loss_of_workers(error: Exception) -> bool:
    from distributed.scheduler import KilledWorker  # noqa: PLC0415 - see `_connected`

    return isinstance(error, KilledWorker)


def _connected(scheduler: str) -> "Client":
    """Connect to a scheduler.

    Raises
    ------
    ClusterError
        See `place_of_work`.
    """
    check_address(scheduler)
    try:
        from distributed import Client  # noqa: PLC0415 - an extra: most users have no cluster
    except ImportError as error:
        raise ClusterError(
            "a cluster needs the package distributed: install bayes-cpt[cluster] (in a clone: uv sync --extra cluster)"
        ) from error
    try:
        # a loop may run in this thread, as in notebooks
        with ThreadPoolExecutor(1) as apart:
            apart.submit(asyncio.run, _greet(scheduler)).result()
        client = Client(scheduler, timeout=ANSWER_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {scheduler}: start one with `dask scheduler`, which prints its address"
        ) from error
    try:
        _check_versions(client)
    except BaseException:
        client.close()
        raise
    return client


async def _greet(scheduler: str) -> None:
    """Exchange a greeting with a scheduler: a client would wait for ever for one that accepts and says nothing."""
    from distributed import Security  # noqa: PLC0415 - see `_connected`
    from distributed.comm.core import connect  # noqa: PLC0415

    options = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(scheduler, timeout=ANSWER_WITHIN, **options), ANSWER_WITHIN)
    await comm.close()


def _check_versions(client: "Client") -> None:
    """Refuse workers without this version of bayes_cpt: they could not read the jobs, and would never answer."""
    own = version("bayes-cpt")
    found: Any = client.run(version, "bayes-cpt", on_error="return")
    others = {worker: there for worker, there in found.items() if there != own}
    if others:
        worker, there = next(iter(others.items()))
        what = there if isinstance(there, str) else "none"
        raise ClusterError(
            f"{len(others)} of {len(found)} workers have another version of bayes_cpt, such as {worker} ({what}): "
            f"install {own} on them"
        )


def check_address(scheduler: str) -> None:
    """Refuse what is no address of a scheduler.

    Raises
    ------
    ClusterError
        If it is not of the form ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.
    """
    try:
        found = urlsplit(scheduler)
        port = found.port
    except ValueError:
        found, port = None, None
    if not (found and port and found.hostname and scheduler == f"{found.scheme}://{found.netloc}") or (
        found.scheme not in {"tcp", "tls"} or "@" in found.netloc
    ):
        raise ClusterError(f"{scheduler!r} is no address of a Dask scheduler: write it as tcp://HOST:PORT")
