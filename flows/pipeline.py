"""The whole graph, or what a target needs of it, as one flow run."""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow
from prefect.futures import PrefectFuture

from flows.stage_graph import read_stage_graph, repro


@flow(name="pipeline")
def pipeline(targets: Sequence[str] = (), project: Path = Path()) -> dict[str, str]:
    """Bring `targets` (stage addresses of dvc.yaml; empty: all) up to date.

    Returns stage -> "ran" or "unchanged". The bytes are those of `dvc repro`, because it is what runs.
    """
    graph = read_stage_graph(project, targets)
    futures: dict[str, PrefectFuture[str]] = {}
    for address in graph.order:
        parents = [futures[parent] for parent in graph.parents[address]]
        futures[address] = repro.submit(address, project.resolve(), wait_for=parents, return_state=False)
    return {address: future.result() for address, future in futures.items()}


if __name__ == "__main__":
    pipeline()
