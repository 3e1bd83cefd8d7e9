"""`python -m flows [STAGE...]`: the graph, or what some of its stages need, as a flow in the project's own folder."""

import sys
from typing import Annotated

import typer

from mmada.errors import MmadaError, exit_explained


def main(
    stages: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]...", help="Stages to reach, as in dvc.yaml; none: all.")
    ] = None,
) -> None:
    """Bring stages up to date in the current folder, as `dvc repro` does, in the sight of a Prefect server."""
    with exit_explained():
        # What imports the flows reads params.yaml and the environment.
        from flows.pipeline import pipeline_in_place
        from flows.stage_graph import StageFailedError

        try:
            pipeline_in_place(stages or [])
        except StageFailedError as error:
            sys.exit(MmadaError.exit_code if error.by_user else 1)  # Prefect has logged what the stage said


if __name__ == "__main__":
    typer.run(main)
