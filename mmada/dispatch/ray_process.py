"""A process of a training job as a Ray actor: light, so that only the process itself loads torch."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmada.processes import bound
from mmada.storage import machine_folder

if TYPE_CHECKING:
    from mmada.training.job import Job


@dataclass(frozen=True)
class Address:
    """Where Ray has put a process. `machine`: Ray's name of it; `free_port`: one on which nothing listens there."""

    machine: str
    host: str
    free_port: int


class RayProcess:
    """Starts a process of a job on the machine where Ray has put it; the process ends with this actor."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._is_asked_to_end = False

    def address(self) -> Address:
        """Where this is."""
        import ray

        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray leaves it unannotated
        return Address(ray.get_runtime_context().get_node_id(), host, port)

    def run(self, job: "Job", store: str, numerics: str, variables: Mapping[str, str]) -> Iterator[str]:
        """Run the job (see dispatch.away) to its end; gives each line that it prints."""
        folder = machine_folder()
        path = folder / "jobs" / f"{job.run}-{variables['RANK']}.json"
        job.write(path)
        command = [sys.executable, "-m", "mmada.dispatch.away", str(path), store, numerics]
        self._process = subprocess.Popen(
            bound(command),
            cwd=folder,
            env=os.environ | dict(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if self._is_asked_to_end:
            self._process.terminate()
        assert self._process.stdout is not None
        for line in self._process.stdout:  # noqa: UP028  # Ray sends to generators, which a file does not take
            yield line

    def code(self) -> int:
        """Exit code of the process that has ended; negative: the signal that ended it."""
        assert self._process is not None, "nothing was run"
        return self._process.wait()

    def stop(self) -> None:
        """Ask the process to save its state and end."""
        self._is_asked_to_end = True
        if self._process is not None:
            self._process.terminate()
