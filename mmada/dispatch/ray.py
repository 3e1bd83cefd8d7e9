"""Run a training job on a Ray cluster whose machines share no disk with the project.

Ray places one actor for each process of the job, which starts the process and passes on what it prints. It all ends
with this process, however that ends; what was trained until then lies in the object store.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from mmada.dispatch.away import artifact_url, sent_away
from mmada.dispatch.capacity import refuse_idle_processes
from mmada.dispatch.ray_process import RayProcess
from mmada.errors import InputError, MmadaError, ParamsError, PreemptedError
from mmada.lineage.exchange import send
from mmada.numerics import numerics_class
from mmada.params_training import TrainingBlock
from mmada.ray_engine import connected_ray
from mmada.storage import atomic_write, open_storage
from mmada.training.checkpoints import Position, newest_position
from mmada.training.job import Job
from mmada.training.outbox import Outbox
from mmada.training.phases import PHASES
from mmada.training.rollout_log import log_place
from mmada.training.state_places import open_states
from mmada.training.stopping import StopRequest

_PASSED_ON: Final = ("MMADA_DEVICE", "MMADA_LOADER_WORKERS", "MMADA_SHARD_CACHE_GB")
_LOSSES: Final = 3
"""How often a machine may be lost before the run has saved another state."""
_LOOK_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 60.0
"""For the other processes to end, when one has failed: by then Ray knows of a machine that was lost."""

Codes = list[int | None]
"""Exit code of each process; None: it was lost, ended by a signal, or asked to end on its machine."""


def run_on_ray(job: Job, work_dir: Path, processes: int) -> Position:
    """Run `job` in `processes` processes, each with a GPU where the cluster has any; see training.run_training.

    MMADA_TRAIN_STORE (s3://bucket/prefix, or a folder that all machines share) takes the job's inputs there and all
    that it makes back. When a machine is lost, the run goes on from its last state as soon as there is room for it.
    """
    store = os.environ.get("MMADA_TRAIN_STORE", "").rstrip("/")
    if not store:
        raise ParamsError("MMADA_DISPATCH=ray needs MMADA_TRAIN_STORE: s3://bucket/prefix, or a folder that all share")
    refuse_idle_processes(TrainingBlock.model_validate(job.block), job.name, processes)
    ray = connected_ray(send_code=True)
    for id_, path in job.publication.inputs.values():
        send(Path(path), artifact_url(store, id_))
    away = sent_away(job, store)
    outbox = Outbox(away.outbox, work_dir / f"{job.name}.outbox")

    def bring_home() -> None:
        outbox.bring_published(job.publication)
        _bring_curves(away.curves, Path(job.curves))

    with StopRequest() as stop:
        _run_until_whole(lambda: _attempt(ray, away, store, processes, stop, bring_home), away, stop)
    bring_home()
    _bring_phases(away.state_dir, Path(job.state_dir))
    bring_answers(away, job)
    outbox.bring_model(Path(job.out))
    return newest_position(away.state_dir)


def _run_until_whole(attempt: Callable[[], Codes], job: Job, stop: StopRequest) -> None:
    """Try again after machines were lost, as long as the run gets on. Raises what run_training says."""
    states, losses = open_states(job.state_dir), 0
    while losses < _LOSSES:
        before = states.newest()
        codes = attempt()
        if not any(code != 0 for code in codes):
            return
        if stop.asked:
            raise PreemptedError(f"training {job.name} was asked to end; run the same command again to go on")
        if None not in codes:
            raise MmadaError(
                f"training {job.name} ended with code {max(code or 0 for code in codes)}; its messages are above. "
                "Run the same command again: it continues from its last state"
            )
        reached = states.newest()
        losses = losses + 1 if reached == before else 0
        sys.stderr.write(f"a process of training {job.name} was lost; it goes on from {reached or 'its beginning'}\n")
    raise MmadaError(
        f"training {job.name} lost a process {_LOSSES} times without reaching another state: perhaps its machines lack "
        "memory, or checkpoint_every is too large. Run the same command again: it continues from its last state"
    )


def _attempt(
    ray: Any, job: Job, store: str, processes: int, stop: StopRequest, bring_home: Callable[[], None]
) -> Codes:
    """Run the job from its last state until every process has ended, and nothing of it is left."""
    from ray.exceptions import RayActorError
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    threads = int(job.block["threads"])
    bundle: dict[str, float] = {"CPU": threads, **({"GPU": 1} if "GPU" in ray.cluster_resources() else {})}
    group = placement_group([bundle] * processes, strategy="PACK")
    members: list[Any] = []
    try:
        _await_room(group, f"{processes} processes of {bundle}", stop)
        actor = ray.remote(RayProcess)
        for rank in range(processes):
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
            options = {"num_cpus": threads, "num_gpus": bundle.get("GPU", 0), "max_concurrency": 2}
            members.append(actor.options(scheduling_strategy=place, **options).remote())
        try:
            ranked = _ranked(ray, members)
        except RayActorError:  # a machine was lost before anything began
            return [None]
        follow = partial(_follow, ray, job, store)
        with ThreadPoolExecutor(processes) as pool:
            ended = [pool.submit(follow, one, variables) for one, variables in ranked]
            try:
                _watch(ended, members, stop, bring_home)
            finally:
                for member in members:
                    ray.kill(member)
        return [future.result() for future in ended]
    finally:
        remove_placement_group(group)


def _await_room(group: Any, asked: str, stop: StopRequest) -> None:
    told = False
    while not group.wait(timeout_seconds=_LOOK_SECONDS):
        if stop.asked:
            raise PreemptedError("asked to end while it waited for the cluster; run the same command again")
        if not told:
            sys.stderr.write(f"waiting until the cluster has room for {asked}\n")
            told = True


def _ranked(ray: Any, members: Sequence[Any]) -> list[tuple[Any, dict[str, str]]]:
    """Each process with the variables by which it finds the others (those of torchrun)."""
    addresses = ray.get([member.address.remote() for member in members])
    beside = Counter(address.machine for address in addresses)
    head = addresses[0]
    shared = {"WORLD_SIZE": str(len(members)), "MASTER_ADDR": head.host, "MASTER_PORT": str(head.free_port)}
    shared |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Ray shows each process its own GPU only, so that every one is the first it sees.
    own = [{"RANK": str(rank), "LOCAL_RANK": "0"} for rank in range(len(members))]
    return [
        (member, {**shared, **mine, "LOCAL_WORLD_SIZE": str(beside[address.machine])})
        for member, mine, address in zip(members, own, addresses, strict=True)
    ]


def _follow(ray: Any, job: Job, store: str, member: Any, variables: Mapping[str, str]) -> int | None:
    """Start a process and pass on what it prints; its exit code, None when it was lost."""
    from ray.exceptions import RayActorError

    label = f"[{variables['RANK']}] " if variables["WORLD_SIZE"] != "1" else ""
    numerics = numerics_class(int(job.block["threads"]))
    try:
        for line in member.run.options(num_returns="streaming").remote(job, store, numerics, dict(variables)):
            sys.stderr.write(f"{label}{ray.get(line)}")
        code: int = ray.get(member.code.remote())
    except RayActorError:
        return None
    return None if code < 0 or code == PreemptedError.exit_code else code  # its machine may have been wanted back


def _watch(
    ended: Sequence["Future[int | None]"], members: Sequence[Any], stop: StopRequest, bring_home: Callable[[], None]
) -> None:
    """Until all processes have ended, or one has failed and the others had time to."""
    told, left = False, _GRACE_SECONDS
    while left > 0 and wait(ended, timeout=_LOOK_SECONDS).not_done:
        if stop.asked and not told:
            for member in members:
                member.stop.remote()
            told = True
        if any(future.done() and future.result() != 0 for future in ended):
            left -= _LOOK_SECONDS
        bring_home()


def _bring_curves(url: str, path: Path) -> None:
    folder, _, name = url.rpartition("/")
    with suppress(InputError):  # no line of them is written yet
        atomic_write(path, open_storage(folder).read(name))


def bring_answers(away: Job, job: Job) -> None:
    """The answers that a run of UniGRPO has logged for people to read, in place of those of a run before."""
    come, here = (open_storage(log_place(one.curves, one.name)) for one in (away, job))
    if names := list(come.names()):
        for name in list(here.names()):
            here.delete(name)
        for name in names:
            here.write(name, come.read(name))


def _bring_phases(url: str, folder: Path) -> None:
    """The answers and scores of UniGRPO, for those who look at them or publish them."""
    storage = open_storage(url)
    for name in storage.names(f"{PHASES}/"):
        storage.download(name, folder / name)
