"""The deployments of this project: what can be started in the Prefect UI, by an event, and by a schedule."""

import shlex
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectNotFound
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from flows.checkpoint_events import PUBLISHED_EVENT
from flows.evaluate import evaluate
from flows.pipeline import pipeline
from flows.reevaluate import reevaluate
from flows.train import train

POOL: Final = "mmada"
NAME: Final = "mmada"
"""Name of every deployment: `pipeline/mmada`, `train/mmada`, `evaluate/mmada`, `reevaluate/mmada`."""
_ON_PUBLICATION: Final = DeploymentEventTrigger(
    name="evaluate published checkpoints",
    expect={PUBLISHED_EVENT},
    match={"prefect.resource.id": "mmada.checkpoint.*"},
    parameters={
        "checkpoint": {"__prefect_kind": "jinja", "template": "{{ event.payload.checkpoint }}"},
    },
)


def make_pool(client: SyncPrefectClient, *, limit: int) -> None:
    """The process work pool, in which at most `limit` runs go on at once; the others wait."""
    try:
        client.read_work_pool(POOL)
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=limit))
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=POOL, type="process", base_job_template=template, concurrency_limit=limit)
        )


def deploy(project: Path, *, sweep: timedelta) -> None:
    """Make or renew all deployments for `project`, with the choices that it has now.

    `sweep`: time between two looks for checkpoints without a score. An earlier deployment of the same name is renewed.
    """
    for flow in (pipeline, train, evaluate):
        _deploy(flow, project)
    schedule = IntervalSchedule(interval=sweep)
    _deploy(reevaluate, project, schedules=[schedule], triggers=[_ON_PUBLICATION])


def _deploy(
    flow: Flow[..., Any], project: Path, *, schedules: Sequence[Any] = (), triggers: Sequence[Any] = ()
) -> None:
    deployment = RunnerDeployment.from_flow(
        flow,
        NAME,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description=flow.description,
        schedules=list(schedules),
        triggers=list(triggers),
        work_pool_name=POOL,
        job_variables={
            # Without a command of its own Prefect starts three processes for a run, which takes seconds longer.
            "command": shlex.join([sys.executable, "-m", "flows.flow_process"]),
            "working_dir": str(project),
            # A server that is away for some minutes costs a run nothing: its client asks again.
            "env": {"PYTHONPATH": str(project), "PREFECT_CLIENT_MAX_RETRIES": "8"},
        },
    )
    deployment.apply()


def main(seconds: Annotated[float, typer.Option(help="Seconds between two sweeps for checkpoints.")] = 900.0) -> None:
    """Make or renew the deployments of the project in the current folder on the server of PREFECT_API_URL."""
    deploy(Path.cwd(), sweep=timedelta(seconds=seconds))


if __name__ == "__main__":
    typer.run(main)
