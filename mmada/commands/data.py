"""Commands about raw corpora, rows, filters and shards."""

from pathlib import Path
from typing import Annotated

import typer

from mmada.commands.options import AsJson
from mmada.errors import IntegrityError
from mmada.params_schema import PARAMS_FILE, load_params

app = typer.Typer()


@app.command(rich_help_panel="Data")
def pin(
    url: Annotated[
        str, typer.Argument(help="Where the corpus lies: s3://bucket/prefix, or hf://datasets/owner/name[@commit].")
    ],
    out: Annotated[
        Path, typer.Argument(help="File to write and commit: data/raw/<corpus>.pins.json, for a dataset .hub.json.")
    ],
    pattern: Annotated[str, typer.Option(help="Which objects below the prefix, by their names.")] = "**/*",
) -> None:
    """Pin a corpus that stays in an object store or on the Hugging Face hub; the file is its `path` in params.yaml.

    Of a bucket: name, size, ETag, version and sha256 of every object; what is pinned already and has not changed is not
    read again. Of a dataset: the commit that a branch or a tag now means (without one, the newest).
    """
    from mmada.sources import hub_pins, pinning

    if url.startswith(hub_pins.SCHEME):
        commit = hub_pins.pin_dataset(url, out)
        typer.echo(f"{out} pins {url.partition('@')[0]} at {commit}; commit it")
        return
    found = pinning.pin(url, out, pattern)
    typer.echo(f"{out} pins {found.objects:,} objects, {found.bytes:,} bytes ({found.bytes_read:,} read); commit it")


@app.command(rich_help_panel="Data")
def recheck() -> None:
    """Search every row for every benchmark item again, and compare with the certificate of decontamination."""
    from mmada.curation import certificate

    params = load_params(PARAMS_FILE)
    wrong = certificate.recheck(
        Path(params.paths.facts),
        {key: Path(params.paths.ingested) / key for key in params.corpora},
        {key: Path(params.paths.benchmark_items) / key for key in params.benchmarks},
        **params.annotation.decontamination.model_dump(),
    )
    if wrong:
        raise IntegrityError(
            f"{params.paths.facts}/certificate.json does not hold: {'; '.join(wrong)}; run `dvc repro annotate`"
        )
    typer.echo(f"{params.paths.facts}/certificate.json holds: searching every row again gives the same")


@app.command(rich_help_panel="Data")
def promote(name: Annotated[str, typer.Argument(help="Name of the data version, for example 2026-11.")]) -> None:
    """Name the data as they are selected now (git tag data/NAME), so that training can ask for them by name."""
    from mmada import data_versions

    typer.echo(f"{data_versions.promote(name, load_params(PARAMS_FILE))} names these data; `git push --tags` shares it")


@app.command(rich_help_panel="Data")
def why(
    row: Annotated[
        str, typer.Argument(help="A row_id, its first digits, or the place of a raw row: captions/captions.jsonl:17.")
    ],
    as_json: AsJson = False,
) -> None:
    """Why a row is in the training data or not: each threshold with the row's value, duplicates, what holds it."""
    from mmada.show import printing, story

    params = load_params(PARAMS_FILE)
    told = story.tell(row, params)
    lines = story.story_lines(told, params.selection)
    typer.echo(printing.as_json(story.story_json(told)) if as_json else "\n".join(lines))


@app.command(rich_help_panel="Data")
def ablate(
    reason: Annotated[str, typer.Argument(metavar="FILTER", help="Reason of the drop ledger: `thought_loop`.")],
    stage: Annotated[str, typer.Option(help="Training stage in which it is measured.")] = "stage1",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training [default: the stage's own].")] = None,
    as_json: AsJson = False,
) -> None:
    """What a filter of selection is worth: train with it and without it, evaluate both, compare item by item.

    Everything happens in .mmada/ablations; the project's own data and models stay as they are.
    """
    from mmada import ablation

    result = ablation.ablate(reason, load_params(PARAMS_FILE), stage=stage, steps=steps)
    text = "report.json" if as_json else "report.txt"
    typer.echo((Path(result.folder) / text).read_text(encoding="utf-8"), nl=False)


@app.command(rich_help_panel="Data")
def check_shards(
    folder: Annotated[Path, typer.Argument(help="Folder of shards, for example data/shards/stage1.")],
) -> None:
    """Look for whatever can be wrong with shards, by file and byte; exit with 2 and name it."""
    from mmada.shards.check import check_shards

    findings = check_shards(folder)
    for finding in findings:
        typer.echo(str(finding))
    if findings:
        raise IntegrityError(f"{folder}: {len(findings)} findings; delete it and run `dvc repro` to make it again")
    typer.echo(f"{folder}: nothing is wrong")
