"""The command line: the graph's own commands here, all others in mmada.commands. One command, one call."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mmada.checkpoint_registry import REGISTRY_FILE, check_decoding, check_pipeline
from mmada.commands import checkpoints, data, lineage, show, training
from mmada.data_versions import check_reference
from mmada.dvc_lock import mend_torn_files
from mmada.errors import exit_explained
from mmada.params_schema import PARAMS_FILE, load_params
from mmada.processes import die_with_parent

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From raw corpora to traced, evaluated MMaDA checkpoints. The graph runs with `dvc repro`; "
    "these commands run one stage, or ask about what was made.",
)


@app.command()
def run(
    stage: Annotated[str, typer.Argument(help="Stage, or stage@key as in dvc.yaml: `select`, `train@stage2`.")],
) -> None:
    """Run one stage with the parameters of params.yaml (what every `cmd` of dvc.yaml does)."""
    die_with_parent()
    from mmada.stage_runner import run_stage

    params = load_params(PARAMS_FILE)
    if REGISTRY_FILE.is_file():
        check_pipeline(params)
    run_stage(stage, params)


@app.command()
def check() -> None:
    """Validate params.yaml, and models.yaml beside it, and say what is wrong, entry by entry, before anything runs.

    Also mends what a kill has cut short of DVC's own files: dvc.lock, its table of locks.
    """
    for mended in mend_torn_files(Path()):
        typer.echo(mended)
    params = load_params(PARAMS_FILE)
    unregistered = check_pipeline(params)
    check_decoding(params)
    check_reference(params)
    typer.echo(f"{PARAMS_FILE} is valid: {len(params.corpora)} corpora, training {' -> '.join(params.training)}")
    for name in unregistered:
        entry = f"{name}: {{path: {params.paths.models}/{name}, origin: pipeline}}"
        typer.echo(f"nothing evaluates {name}: add `{entry}` to the checkpoints of {REGISTRY_FILE} if it is to be")


@app.command()
def patch(
    file: Annotated[Path, typer.Argument(help="YAML with the entries to change; null deletes an entry.")],
) -> None:
    """Change params.yaml by a patch file (JSON Merge Patch, RFC 7396), keeping its comments."""
    from mmada.params_patch import patch_params

    patch_params(PARAMS_FILE, file)
    typer.echo(
        f"{PARAMS_FILE} now holds the entries of {file}, and {REGISTRY_FILE} its training stages; `dvc repro` runs "
        "what depends on them"
    )


@app.command()
def summary() -> None:
    """Where the time went, the scores of each training stage, the trace of the last model, the page to look at."""
    from mmada.site.summary import print_summary

    print_summary(load_params(PARAMS_FILE))


for group in (data, training, checkpoints, lineage, show):
    app.add_typer(group.app)


def main() -> None:
    """Entry point: user errors print their message alone and exit with 2, runs that want to be continued with 75."""
    # Threads that spin long while they wait make a shared machine crawl (20x slower with one busy neighbour); this
    # many turns keep 95 % of an idle machine's speed.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    with exit_explained():
        app()
