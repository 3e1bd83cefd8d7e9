"""Run units on a Ray cluster: payloads and results travel through Ray, so that its machines share no disk.

The machines need this package in the same version, and nothing of the project's folder: the files that all units read
(`reads`) go to each machine once.
"""

import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from mmada.errors import ParamsError
from mmada.processes import WorkerLostError
from mmada.storage import atomic_write, machine_folder, settle
from mmada.unit_files import pack_files, unpack_files

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")

_NODES_LOST: Final = 20
"""How many machines may be lost under one unit: by that it does them harm itself, or the cluster is of no use."""


class RayCluster(Generic[T]):
    """`run` as tasks of the cluster at RAY_ADDRESS, or of a Ray on this machine alone where it is not set.

    `gpus`: GPUs (or a share of one) that a unit holds, on a cluster that has any. `reads`: folders below the project's
    that all units read. Raises ParamsError when Ray is not installed or the cluster does not answer.
    """

    def __init__(
        self, run: Callable[[T], bytes], *, slots: int | None, gpus: float, reads: Sequence[Path] = ()
    ) -> None:
        ray = connected_ray()
        resources = ray.cluster_resources()
        gpus = gpus if "GPU" in resources else 0
        self.slots = slots or max(1, int(resources["GPU"] / gpus if gpus else resources["CPU"]))
        self._ray = ray
        # We count tries ourselves, so that a unit that crashes its worker is known by its key.
        self._call = ray.remote(max_retries=0, num_cpus=1, num_gpus=gpus)(_call)
        self._run = ray.put(run)  # sent to each machine once
        self._place = _place(ray, reads)
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
            task = self._call.remote(self._run, self._place, payload)
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


def _call(run: Callable[[T], bytes], place: "_Place", payload: T) -> bytes:
    place.enter()
    return run(payload)


@dataclass(frozen=True)
class _Place:
    """Where units run, so that relative paths mean what they mean to the driver.

    `files`: those that units read, below `project`. `packed`: the same (unit_files); in a list, so that Ray brings it
    to a machine only when that asks for it. `digest`: its sha256.
    """

    project: str
    files: tuple[str, ...]
    packed: "list[ObjectRef[bytes]]"
    digest: str

    def enter(self) -> None:
        """Make the project's folder, or on a machine that has none a copy of what is read of it, the current one."""
        if os.path.isdir(self.project) and all(os.path.isfile(os.path.join(self.project, name)) for name in self.files):
            os.chdir(self.project)
        elif self.files:
            os.chdir(self._copy())

    def _copy(self) -> Path:
        import ray

        folder = machine_folder() / "units" / self.digest
        if not folder.is_dir():
            partial = folder.with_name(f".{self.digest}.{os.getpid()}.partial")
            for name, data in unpack_files(ray.get(self.packed[0])).items():
                atomic_write(partial / name, data)
            settle(partial, folder)
        return folder


def _place(ray: Any, reads: Sequence[Path]) -> _Place:
    files = sorted(path for folder in reads for path in folder.rglob("*") if path.is_file())
    packed = pack_files({path.as_posix(): path.read_bytes() for path in files})
    digest = hashlib.sha256(packed).hexdigest()
    return _Place(os.getcwd(), tuple(path.as_posix() for path in files), [ray.put(packed)], digest)


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
            "Ray is not installed: run `pip install -c constraints.txt '.[ray]'` in the project's folder, or unset "
            "MMADA_ENGINE and MMADA_DISPATCH"
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
