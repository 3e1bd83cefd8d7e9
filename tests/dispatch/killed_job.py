"""A training job that runs away from its project, killed again and again at a change that it makes to a file or object.

`python -m tests.dispatch.killed_job FOLDER STORE KILLS SEED` finds its inputs in FOLDER (small_job.make_inputs) and
prints as JSON which operations were hit. It ends with 1 when a job that was killed and continued leaves other bytes
than one that was not.
"""

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmada.dispatch.away import artifact_url, run_away, sent_away
from mmada.lineage.exchange import send
from mmada.numerics import numerics_class
from mmada.s3_storage import S3Storage
from mmada.storage import open_storage
from mmada.training.job import Job
from tests.dispatch.small_job import make_job, read_inputs

STEPS = 4
_CHANGES = ((S3Storage, ("upload", "write", "delete")), (Path, ("replace", "rename", "unlink")), (os, ("fsync",)))


def main(folder: Path, store: str, kills: int, seed: int) -> None:
    os.environ |= {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MMADA_LOADER_WORKERS": "2"}
    inputs = read_inputs(folder)
    for artifact in inputs.values():
        send(artifact.path, artifact_url(store, artifact.id))
    job = sent_away(make_job(inputs, folder / "none", steps=STEPS), store)
    rng, log = random.Random(seed), folder / "operations"
    _forget(folder, job, store)
    assert _start(folder, job, store, log, last=None) == 0, "the job fails by itself"
    expected = _made(job)
    operations = len(log.read_text().split())
    hit: Counter[str] = Counter()
    while hit.total() < kills:
        _forget(folder, job, store)
        is_killed = True
        while is_killed:
            log.write_text("")
            is_killed = _start(folder, job, store, log, last=rng.randrange(1, operations)) != 0
            hit.update(log.read_text().split()[-1:] if is_killed else [])
        if _made(job) != expected:
            sys.exit(f"after {dict(hit)} the bytes differ")
    sys.stdout.write(json.dumps(hit))


def _forget(folder: Path, job: Job, store: str) -> None:
    """Everything that a job has made, and all that its machine holds."""
    storage = open_storage(store)
    for name in list(storage.names(f"training/{job.run}/")):
        storage.delete(name)
    shutil.rmtree(folder / "machine", ignore_errors=True)
    (folder / "machine").mkdir()


def _made(job: Job) -> dict[str, bytes]:
    storage = open_storage(job.outbox)
    return {name: storage.read(name) for name in storage.names() if name.endswith("manifest.json")}


def _start(folder: Path, job: Job, store: str, log: Path, *, last: int | None) -> int:
    """Run the job in a process that is killed at its operation number `last`, if it comes so far; how it ended."""
    child = os.fork()  # of a process in which neither torch nor polars have started threads
    if child == 0:
        os.chdir(folder / "machine")
        _count_changes(log, last)
        run_away(job, store, numerics_class(1))
        os._exit(0)  # nothing of this process's own is to be ended twice
    return os.waitpid(child, 0)[1]


def _count_changes(log: Path, last: int | None) -> None:
    done = 0

    def counted(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            done += 1
            with log.open("a") as stream:
                stream.write(f"{name}\n")
            if done == last and last % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = operation(*arguments, **options)
            if done == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return change

    for place, names in _CHANGES:
        for name in names:
            setattr(place, name, counted(f"{place.__name__}.{name}", getattr(place, name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
