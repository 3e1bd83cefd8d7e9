"""Commands that walk between raw rows and what was made of them."""

from pathlib import Path
from typing import Annotated

import typer

from mmada.commands.options import AsJson

app = typer.Typer()

Folder = Annotated[Path, typer.Argument(help="Folder of an output, for example data/models/stage3; it may be a copy.")]
Project = Annotated[Path, typer.Option(help="Project that made it (the folder with dvc.yaml).", envvar="MMADA_PROJECT")]


@app.command(rich_help_panel="Lineage")
def trace(
    folder: Folder,
    project: Project = Path(),
    step: Annotated[int | None, typer.Option(help="Name the very samples of this training step.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="List every raw row of the model, one JSON line each.")] = False,
    as_json: AsJson = False,
) -> None:
    """Walk from an output back to the raw files and rows that made it."""
    from mmada.lineage import render

    render.print_trace(folder, project, step=step, rows=rows, as_json=as_json)


@app.command(rich_help_panel="Lineage")
def impact(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="RAW",
            help="Raw file or folder (path in the project), a file's sha256, or a row id of `trace --rows`.",
        ),
    ],
    project: Project = Path(),
    as_json: AsJson = False,
) -> None:
    """Name every set of shards, model and score that raw data reaches, earlier versions included."""
    from mmada.lineage import render

    render.print_impact(asked, project, as_json=as_json)


@app.command(rich_help_panel="Lineage")
def verify(folder: Folder, project: Project = Path(), as_json: AsJson = False) -> None:
    """Re-hash an output and everything that it descends from; exit with 2 and name what is not as it was."""
    from mmada.lineage import render

    render.print_verification(folder, project, as_json=as_json)


@app.command(rich_help_panel="Lineage")
def diff(
    output: Annotated[str, typer.Argument(help="Folder of an output, for example data/models/stage3, or its id.")],
    earlier: Annotated[
        str, typer.Argument(help="Folder or id to compare with; if none is given, the version that was made before it.")
    ] = "",
    project: Project = Path(),
    as_json: AsJson = False,
) -> None:
    """Say by which raw files, samples, settings and code two models (or other outputs) differ."""
    from mmada.lineage import render

    render.print_difference(output, earlier, project, as_json=as_json)
