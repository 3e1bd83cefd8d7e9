"""Commands about training: what it takes, where it runs, what it sampled."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mmada.commands.options import AsJson
from mmada.params_schema import PARAMS_FILE, load_params

app = typer.Typer()

DeviceKind = Literal["A100", "H100", "H200"]


@app.command(rich_help_panel="Training")
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


@app.command(rich_help_panel="Training")
def proof(
    seeds: Annotated[int, typer.Option(min=1, help="Runs; the first one is the project's own.")] = 6,
    as_json: AsJson = False,
) -> None:
    """Each stage beside a control that goes on with the first one for as many steps, over several seeds.

    Everything happens in .mmada/proof; the project's own data and models stay as they are.
    """
    from mmada.proof import prove

    result = prove(load_params(PARAMS_FILE), seeds=seeds)
    text = "report.json" if as_json else "report.txt"
    typer.echo((Path(result.folder) / text).read_text(encoding="utf-8"), nl=False)


dispatch = typer.Typer(no_args_is_help=True, help="Where a training job runs.")
app.add_typer(dispatch, name="dispatch", rich_help_panel="Training")


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
    from mmada.dispatch.capacity import refuse_idle_processes
    from mmada.dispatch.plans import training_block
    from mmada.dispatch.slurm import SlurmJob, slurm_script

    # It would be refused all the same, after its time in the queue.
    refuse_idle_processes(training_block(load_params(PARAMS_FILE), stage), stage, nodes * gpus)
    typer.echo(slurm_script(SlurmJob(stage, nodes, gpus, cpus, time, notice)), nl=False)


@app.command(rich_help_panel="Training")
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
    from mmada.errors import InputError
    from mmada.show import printing
    from mmada.unit_store import WORK_DIR, open_unit_store

    if publish is None and min_reward is not None:
        raise InputError("--min-reward chooses among the answers that are published; name their folder by --publish")
    if publish is not None and (iteration is not None or as_json):
        raise InputError("--publish writes the answers of all iterations; leave --iteration and --json out")
    params = load_params(PARAMS_FILE)
    run = rollout_corpus.find_run(stage, params, open_unit_store(WORK_DIR / "units"))
    if publish is not None:
        corpus = rollout_corpus.publish_rollouts(run, publish, params, min_reward=min_reward)
        typer.echo(f"{publish} holds {corpus.metadata['answers']:,} answers of model {run.model.id[:12]}")
        return
    groups = run.of_iteration(iteration)
    text = "\n\n".join("\n".join(printing.rollout_lines(answers)) for answers in groups)
    typer.echo(printing.as_json(groups) if as_json else text)
