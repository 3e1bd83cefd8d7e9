"""One process of a training job on a machine that shares no disk with the project.

`python -m mmada.dispatch.away JOB STORE NUMERICS`: the job's shards and parent come from the object store STORE by
their ids and are held against their sha256 before the first step; states, metrics and models go there.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from mmada.dispatch.machines import refuse_too_large
from mmada.errors import IntegrityError, ParamsError, exit_explained
from mmada.lineage.exchange import fetch
from mmada.lineage.manifest import read_artifact
from mmada.numerics import numerics_class
from mmada.shards.reader import ShardReader
from mmada.storage import exclusive
from mmada.training.job import Job, run_job
from mmada.training.state_places import open_states

_HERE: Final = Path("artifacts")


def artifact_url(store: str, id_: str) -> str:
    """Where an artifact lies in the object store."""
    return f"{store}/artifacts/{id_}"


def sent_away(job: Job, store: str) -> Job:
    """The job as such a machine runs it; relative paths are below the folder where it works."""
    run = f"{store}/training/{job.run}"
    ids = {name: id_ for name, (id_, _) in job.publication.inputs.items()}
    return replace(
        job,
        shards=artifact_url(store, ids["shards"]),
        parent=(_HERE / ids["parent"]).as_posix(),
        magvit=(_HERE / ids["magvit"]).as_posix(),
        out=f"made/{job.run}",
        state_dir=f"{run}/states",
        curves=f"{run}/curves.jsonl",
        outbox=f"{run}/outbox",
    )


def _fetch_inputs(job: Job, store: str) -> None:
    """Have the parent and the picture tokenizer here, and the shards as far as there is room; all are verified."""
    ids = {name: id_ for name, (id_, _) in job.publication.inputs.items()}
    for id_ in (ids["parent"], ids["magvit"]):
        with exclusive(_HERE / "locks" / id_):  # once for all processes of this machine
            fetch(artifact_url(store, id_), _HERE / id_, id_)
    reader = ShardReader.open(job.shards)
    if read_artifact(reader.folder).id != ids["shards"]:
        raise IntegrityError(f"{job.shards} is not artifact {ids['shards'][:12]}; delete it there, and run again")
    reader.fetch()


def run_away(job: Job, store: str, numerics: str) -> None:
    """Run this process's part of a job that `sent_away` made.

    Raises ParamsError on a machine of another numerics class than the run's, IntegrityError for inputs of other bytes,
    CapacityError before the first step when it cannot fit; else see training.job.run_job.
    """
    here = numerics_class(int(job.block["threads"]))
    if here != numerics:
        raise ParamsError(
            f"this machine computes as {here}, the run is one of {numerics}: start it on a machine like those of the "
            "cluster"
        )
    _fetch_inputs(job, store)
    if open_states(job.state_dir).newest() is None:
        world, beside = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        refuse_too_large(job, Path(), world=world, beside=beside)
    run_job(job)


if __name__ == "__main__":
    with exit_explained():
        run_away(Job.read(Path(sys.argv[1])), *sys.argv[2:])
