"""Run units on a Ray cluster: payloads and results travel through Ray, so that its machines share no disk.

The machines need this package in the same version, and nothing of the project's folder.
"""

import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from mmada.errors import ParamsError
from mmada.processes import WorkerLostError

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")

_NODES_LOST: Final = 20
"""How many machines may be lost under one unit: by that it does them harm itself, or the cluster is of no use."""


class RayCluster(Generic[T]):
    """`run` as tasks of the cluster at RAY_ADDRESS, or of a Ray on this machine alone where it is not set.

    `gpus`: GPUs (or a share of one) that a unit holds, on a cluster that has any. Raises ParamsError when Ray is not
    installed or the cluster does not answer.
    """

    def __init__(self, run: Callable[[T], bytes], *, slots: int | None, gpus: float) -> None:
        ray = connected_ray()
        resources = ray.cluster_resources()
        gpus = gpus if "GPU" in resources else 0
        self.slots = slots or max(1, int(resources["GPU"] / gpus if gpus else resources["CPU"]))
        self._ray = ray
        # We count tries ourselves, so that a unit that crashes its worker is known by its key.
        self._call = ray.remote(max_retries=0, num_cpus=1, num_gpus=gpus)(_call)
        self._run = ray.put(run)  # sent to each machine once
        self._lock = Lock()
        self._closed = False
        self._running: set[ObjectRef[bytes]] = set()

    def __call__(self, payload: T) -> bytes:
        from ray.exceptions import NodeDiedError, ObjectLostError, RayTaskError

        for _ in range(_NODES_LOST):
            try:
                return self._try(payload)
            except RayTaskError as error:
                raise error.cause from error  # what the unit raised
            except (NodeDiedError, ObjectLostError):  # no fault of the unit's
                continue
        raise WorkerLostError(f"its machine was lost {_NODES_LOST} times")

    def _try(self, payload: T) -> bytes:
        from ray.exceptions import OutOfMemoryError, TaskCancelledError, WorkerCrashedError

        with self._lock:
            if self._closed:
                raise WorkerLostError("the run has ended")
            task = self._call.remote(self._run, os.getcwd(), payload)
            self._running.add(task)
        try:
            result: bytes = self._ray.get(task)
            return result
        except (WorkerCrashedError, OutOfMemoryError, TaskCancelledError) as error:
            raise WorkerLostError(str(error)) from error
        finally:
            self._running.discard(task)

    def close(self) -> None:
        """End the tasks that run. The connection stays for the next units; Ray closes it when the process ends."""
        with self._lock:
            self._closed = True
        for task in list(self._running):
            self._ray.cancel(task, force=True)


def _call(run: Callable[[T], bytes], folder: str, payload: T) -> bytes:
    if os.path.isdir(folder):  # here, or on a shared disk: relative paths mean what they mean to the driver
        os.chdir(folder)
    return run(payload)


def connected_ray(*, send_code: bool = False) -> Any:
    """The module `ray`, connected to the cluster at RAY_ADDRESS, or to a Ray on this machine alone.

    `send_code`: its machines run this very package, whatever they have installed. Raises ParamsError when Ray is not
    installed or the cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "")
    if not address and "RAY_AUTH_MODE" not in os.environ:
        # Ray on this machine listens to its network too. A token of this process keeps others out; by itself, Ray
        # would write one to the home folder.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
    except ImportError:
        raise ParamsError(
            "Ray is not installed: install `mmada-platform[ray]`, or unset MMADA_ENGINE and MMADA_DISPATCH"
        ) from None
    if not ray.is_initialized():
        variables = {name: os.environ[name] for name in ("MMADA_DEVICE",) if name in os.environ}
        environment: dict[str, Any] = {"env_vars": variables} if variables else {}
        if send_code:
            environment |= {"py_modules": [str(Path(__file__).parent)], "excludes": ["__pycache__"]}
        try:
            ray.init(
                address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=environment or None,
            )
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            raise ParamsError(
                f"no Ray cluster answers at {address or 'this machine'} ({error}): start it, correct RAY_ADDRESS, or "
                "unset MMADA_ENGINE and MMADA_DISPATCH"
            ) from error
    return ray
