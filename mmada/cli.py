"""The command line. One command, one call; what it does lives below."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmada.dvc_lock import remove_torn_lock
from mmada.errors import IntegrityError, exit_explained
from mmada.params_schema import PARAMS_FILE, load_params
from mmada.processes import die_with_parent
from mmada.show.commands import show

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From raw corpora to traced, evaluated MMaDA checkpoints. The graph runs with `dvc repro`; "
    "these commands run one stage, or ask about what was made.",
)
app.add_typer(show, name="show")

Folder = Annotated[Path, typer.Argument(help="Folder of an output, for example data/models/stage3; it may be a copy.")]
Project = Annotated[Path, typer.Option(help="Project that made it (the folder with dvc.yaml).", envvar="MMADA_PROJECT")]
Magvit = Annotated[Path | None, typer.Option(help="Folder of the picture tokenizer [default: paths.magvit].")]
Size = Annotated[str | None, typer.Option(help="Side of pictures in pixels, or HEIGHTxWIDTH [default: vq.resolution].")]
Crop = Annotated[
    Literal["centre_crop", "squash", "pad"] | None,
    typer.Option(help="How a picture is brought to that size [default: vq.crop_policy]."),
]
CacheName = Literal["none", "prefix", "dual"]
DeviceKind = Literal["A100", "H100", "H200"]
Dtype = Literal["float32", "bfloat16"]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def run(
    stage: Annotated[str, typer.Argument(help="Stage, or stage@key as in dvc.yaml: `select`, `train@stage2`.")],
) -> None:
    """Run one stage with the parameters of params.yaml (what every `cmd` of dvc.yaml does)."""
    die_with_parent()
    from mmada.stage_runner import run_stage

    run_stage(stage, load_params(PARAMS_FILE))


@app.command()
def check() -> None:
    """Validate params.yaml and say what is wrong, entry by entry, before anything runs.

    Also removes a lock file of DVC's that a kill cut short.
    """
    if remove_torn_lock(Path()):
        typer.echo("removed .dvc/tmp/rwlock, which a kill had cut short")
    params = load_params(PARAMS_FILE)
    typer.echo(f"{PARAMS_FILE} is valid: {len(params.corpora)} corpora, training {' -> '.join(params.training)}")


@app.command()
def recheck() -> None:
    """Search every row for every benchmark item again, and compare with the certificate of decontamination."""
    from mmada.curation import certificate

    params = load_params(PARAMS_FILE)
    wrong = certificate.recheck(
        Path(params.paths.facts),
        {key: Path(params.paths.ingested) / key for key in params.corpora},
        {key: Path(params.paths.benchmark_items) / key for key in params.benchmarks},
    )
    if wrong:
        raise IntegrityError(
            f"{params.paths.facts}/certificate.json does not hold: {'; '.join(wrong)}; run `dvc repro annotate`"
        )
    typer.echo(f"{params.paths.facts}/certificate.json holds: searching every row again gives the same")


@app.command()
def patch(
    file: Annotated[Path, typer.Argument(help="YAML with the entries to change; null deletes an entry.")],
) -> None:
    """Change params.yaml by a patch file (JSON Merge Patch, RFC 7396), keeping its comments."""
    from mmada.params_patch import patch_params

    patch_params(PARAMS_FILE, file)
    typer.echo(f"{PARAMS_FILE} now holds the entries of {file}; `dvc repro` runs what depends on them")


@app.command()
def pin(
    url: Annotated[str, typer.Argument(help="Where the corpus lies: s3://bucket/prefix.")],
    out: Annotated[Path, typer.Argument(help="File to write and commit: data/raw/<corpus>.pins.json.")],
    pattern: Annotated[str, typer.Option(help="Which objects below the prefix, by their names.")] = "**/*",
) -> None:
    """Pin a corpus that stays in an object store: name, size, ETag, version and sha256 of every object.

    The file is the `path` of the corpus. What is pinned already and has not changed is not read again.
    """
    from mmada.sources import pinning

    found = pinning.pin(url, out, pattern)
    typer.echo(f"{out} pins {found.objects:,} objects, {found.bytes:,} bytes ({found.bytes_read:,} read); commit it")


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="Checkpoint folder: config.json, safetensors, its text tokenizer.")],
    prompt: Annotated[str, typer.Argument(help="What to ask, or what to draw.")],
    about: Annotated[Path | None, typer.Option(help="Ask about this picture.", metavar="PICTURE")] = None,
    draw: Annotated[Path | None, typer.Option(help="Draw, and write the picture here.", metavar="FILE.png")] = None,
    frames: Annotated[
        Path | None, typer.Option(help="Write the steps of the drawing, as .gif or side by side as .png.")
    ] = None,
    think: Annotated[
        bool,
        typer.Option(
            "--think",
            help="Text: ask for a thought with the published words (the demo's models think unasked). "
            "With --draw: write a plan first, then draw.",
        ),
    ] = False,
    tokens: Annotated[int | None, typer.Option(min=1, help="Text tokens to sample.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps for them, shared evenly by the blocks.")] = None,
    block: Annotated[int | None, typer.Option(min=1, help="Tokens of a block; text is filled block by block.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Gumbel noise of text; 0 is greedy.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Faster, approximate: reveal text from this confidence at once (0.9).")
    ] = None,
    cache: Annotated[
        CacheName | None, typer.Option(help="Faster, approximate: keys and values of text that are kept.")
    ] = None,
    image_steps: Annotated[int | None, typer.Option(min=1, help="Steps of a drawing.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="Classifier-free guidance; 0 is none.")] = None,
    magvit: Magvit = None,
    size: Size = None,
    crop: Crop = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal answers.")] = 0,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda or cuda:N [default: a CUDA device where there is one].", envvar="MMADA_DEVICE"),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Number format of the weights.")] = "float32",
) -> None:
    """Ask a checkpoint: text, a picture, or an answer about a picture.

    \b
    mmada generate data/models/stage3 "what is 7 + 4 - 2?"
    mmada generate data/models/stage3 "a red circle left of a blue square" --draw circle.png --frames steps.gif
    mmada generate data/models/stage3 "how many shapes are there?" --about circle.png

    What is not given is taken from params.yaml (evaluation.decoding) for models that this project made, and from the
    published settings for others: 256 tokens in blocks of 32, pictures of 512 pixels in 15 steps with guidance 3.5.
    """
    from mmada.generate import Choices, Wish, answer

    choices = Choices(
        tokens, steps, block, temperature, guidance, threshold, cache, image_steps, magvit, size, crop, seed, device,
        dtype,
    )  # fmt: skip
    text = answer(model, Wish(prompt, about, draw, frames, think), choices, PARAMS_FILE)
    if text:
        typer.echo(text)
    if draw is not None:
        typer.echo(f"drawn: {draw}", err=True)


@app.command()
def tokenize(
    picture: Annotated[Path, typer.Argument(help="Picture file.")],
    out: Annotated[Path | None, typer.Option(help="File to write, .json or .npy; else they are printed.")] = None,
    magvit: Magvit = None,
    size: Size = None,
    crop: Crop = None,
) -> None:
    """The codes of one picture: a grid of numbers, row by row, one for each 16x16 pixels."""
    from mmada import generate, single_pictures

    codec = generate.open_codec(generate.Choices(magvit=magvit, size=size, policy=crop), PARAMS_FILE)
    codes = codec.encode(single_pictures.read_picture(picture))
    if out is None:
        typer.echo(single_pictures.codes_text(codes), nl=False)
    else:
        single_pictures.write_codes(codes, out)


@app.command()
def detokenize(
    codes: Annotated[Path, typer.Argument(help="File of codes, .json (rows of numbers) or .npy.")],
    out: Annotated[Path, typer.Argument(help="Picture to write, .png.")],
    magvit: Magvit = None,
) -> None:
    """The picture of a grid of codes, which may have any height and width."""
    from mmada import generate, single_pictures

    codec = generate.open_codec(generate.Choices(magvit=magvit), PARAMS_FILE)
    single_pictures.write_picture(codec.decode(single_pictures.read_codes(codes)), out)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def verify(folder: Folder, project: Project = Path(), as_json: AsJson = False) -> None:
    """Re-hash an output and everything that it descends from; exit with 2 and name what is not as it was."""
    from mmada.lineage import render

    render.print_verification(folder, project, as_json=as_json)


@app.command()
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


@app.command()
def register(
    folder: Annotated[Path, typer.Argument(help="Model folder: config.json, safetensors, tokenizer.")],
    name: Annotated[str, typer.Argument(help="Name under which it is evaluated.")],
    external: Annotated[bool, typer.Option("--external", help="It was made elsewhere: its lineage ends here.")] = False,
) -> None:
    """Register a checkpoint in models.yaml, so that it is evaluated like those that were trained here."""
    from mmada.external_checkpoints import register_checkpoint

    entry = register_checkpoint(folder, name, load_params(PARAMS_FILE), external=external)
    typer.echo(f"{name} is {entry.origin} checkpoint {entry.id[:12]} in {entry.path}; `dvc repro evaluate@{name}`")


@app.command()
def forecast(
    stage: Annotated[str, typer.Argument(help="Block of `training` in params.yaml.")],
    processes: Annotated[int, typer.Option(min=1, help="Devices that share the job.")] = 1,
    device: Annotated[
        DeviceKind | None, typer.Option(help="Kind of the devices [default: what this machine has].")
    ] = None,
    length: Annotated[int | None, typer.Option(min=1, help="Tokens of a row [default: the model's longest].")] = None,
) -> None:
    """What training a stage takes: memory, disk, time. Exits with 2, and the number, when it cannot fit."""
    from mmada.dispatch.machines import named_machine, this_machine
    from mmada.dispatch.plans import print_forecast

    machine = named_machine(device) if device else this_machine(Path(), processes)
    print_forecast(load_params(PARAMS_FILE), stage, machine, processes=processes, length=length)


dispatch = typer.Typer(no_args_is_help=True, help="Where a training job runs.")
app.add_typer(dispatch, name="dispatch")


@dispatch.callback()
def _dispatch() -> None:
    """Where a training job runs."""


@dispatch.command()
def slurm(
    stage: Annotated[str, typer.Argument(help="Block of `training` in params.yaml.")],
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs, and processes, of each.")] = 8,
    cpus: Annotated[int, typer.Option(min=1, help="Cores of each.")] = 64,
    time: Annotated[str, typer.Option(help="How long one turn may take, as Slurm writes it.")] = "24:00:00",
    notice: Annotated[int, typer.Option(min=1, help="Seconds before its end in which training saves its state.")] = 600,
) -> None:
    """Print a batch script that trains a stage: `mmada dispatch slurm stage1 > train.sh && sbatch train.sh`."""
    from mmada.dispatch.plans import training_block
    from mmada.dispatch.slurm import SlurmJob, slurm_script

    training_block(load_params(PARAMS_FILE), stage)
    typer.echo(slurm_script(SlurmJob(stage, nodes, gpus, cpus, time, notice)), nl=False)


@app.command()
def promote(name: Annotated[str, typer.Argument(help="Name of the data version, for example 2026-11.")]) -> None:
    """Name the data as they are selected now (git tag data/NAME), so that training can ask for them by name."""
    from mmada import data_versions

    typer.echo(f"{data_versions.promote(name, load_params(PARAMS_FILE))} names these data; `git push --tags` shares it")


@app.command()
def scores(
    as_json: AsJson = False,
    check_falls: Annotated[
        bool, typer.Option("--check", help="Exit with 2 when a checkpoint fell significantly against its parent.")
    ] = False,
) -> None:
    """Every evaluation in the score store: intervals, and the paired change from the parent."""
    from mmada.evaluation.score_store import ScoreStore
    from mmada.evaluation.stored_scores import print_scores

    store = ScoreStore(Path(load_params(PARAMS_FILE).paths.score_store))
    print_scores(store, as_json=as_json, check=check_falls)


@app.command()
def rollouts(
    stage: Annotated[str, typer.Argument(help="Training stage of UniGRPO, trained on this machine: stage3.")],
    iteration: Annotated[int | None, typer.Option(help="Whose answers to print [default: the last one's].")] = None,
    publish: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write all answers as a raw corpus: data/raw/rollouts.")
    ] = None,
    min_reward: Annotated[float | None, typer.Option(help="Publish the answers that are worth this at least.")] = None,
    as_json: AsJson = False,
) -> None:
    """The answers that a stage sampled and learned from: rewards by name, advantages, group by group."""
    from mmada import rollout_corpus
    from mmada.show import printing
    from mmada.unit_store import WORK_DIR, open_unit_store

    params = load_params(PARAMS_FILE)
    run = rollout_corpus.find_run(stage, params, open_unit_store(WORK_DIR / "units"))
    if publish is not None:
        corpus = rollout_corpus.publish_rollouts(run, publish, params, min_reward=min_reward)
        typer.echo(f"{publish} holds {corpus.metadata['answers']:,} answers of model {run.model.id[:12]}")
        return
    groups = run.of_iteration(iteration)
    text = "\n\n".join("\n".join(printing.rollout_lines(answers)) for answers in groups)
    typer.echo(printing.as_json(groups) if as_json else text)


@app.command()
def summary() -> None:
    """Where the time went, the scores of each training stage, the trace of the last model, the page to look at."""
    from mmada.site.summary import print_summary

    print_summary(load_params(PARAMS_FILE))


def main() -> None:
    """Entry point: user errors print their message alone and exit with 2, runs that want to be continued with 75."""
    # Threads that spin long while they wait make a shared machine crawl (20x slower with one busy neighbour); this
    # many turns keep 95 % of an idle machine's speed.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    with exit_explained():
        app()
