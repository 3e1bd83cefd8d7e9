"""The answers that a UniGRPO run sampled, as a raw corpus: published with their lineage, curated like any other.

The folder holds a file of JSON lines per task (`chat.jsonl`), the pictures that its rows name, and a manifest that says
which model's training sampled them.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from jaxtyping import Int
from PIL import Image

from mmada.errors import InputError
from mmada.lineage.manifest import Artifact, open_artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.params_schema import Params
from mmada.params_training import TrainingBlock, recorded_block
from mmada.stages.train import run_digest, state_folder
from mmada.storage import explain_os_errors, settle
from mmada.training.job import picture_decoder, reward_weights
from mmada.training.phases import Reward, decoded, kept_groups, kept_places, open_phases, picture_codes
from mmada.training.policy_gradient import ADVANTAGES
from mmada.training.rollout_log import answer_records
from mmada.training.rollouts import DecodePictures, Group
from mmada.unit_store import UnitStore

STAGE: Final = "publish_rollouts"
_VERSION: Final = 1
_PICTURES: Final = "pictures"


@dataclass(frozen=True)
class KeptRun:
    """A finished UniGRPO run that has left its answers here."""

    model: Artifact
    block: TrainingBlock
    run: str
    state_dir: Path

    def groups(self, iteration: int | None = None) -> Iterator[tuple[Group, list[Reward]]]:
        """All groups, or those of an iteration, with their rewards, in order of iterations, then of prompts."""
        assert self.block.unigrpo is not None, "only such runs are found"
        phases = open_phases(self.state_dir)
        places = [place for place in kept_places(phases) if iteration in (None, place[0])]
        return kept_groups(places, phases, reward_weights(self.block.unigrpo))

    def of_iteration(self, number: int | None) -> list[list[dict[str, Any]]]:
        """The answers of each group of an iteration, by default of the last. Raises InputError when there are none."""
        last = max((place[0] for place in kept_places(open_phases(self.state_dir))), default=0)
        wanted = last if number is None else number
        found = [self.answers(group, rewards) for group, rewards in self.groups(wanted)]
        if not found:
            raise InputError(f"{self.model.path} has no iteration {wanted}; it has 0 to {last}")
        return found

    def answers(self, group: Group, rewards: list[Reward]) -> list[dict[str, Any]]:
        """What is known of each answer of a group, but for its picture."""
        assert self.block.unigrpo is not None, "only such runs are found"
        return answer_records(group, rewards, ADVANTAGES[self.block.unigrpo.advantages])


def find_run(key: str, params: Params, store: UnitStore) -> KeptRun:
    """The run that made the model of training stage `key`. Raises InputError when it was none of UniGRPO, or when its
    answers are not on this machine.
    """
    model = open_artifact(Path(params.paths.models) / key)
    for record in reversed(ProvenanceStore(Path(params.paths.provenance)).records(model.id)):
        if (said := record["params"].get(f"training.{key}")) is None:
            raise InputError(f"{model.path} was made by {record['stage']}, which samples no answers; name a stage 3")
        block = recorded_block(said)
        if block.unigrpo is None:
            raise InputError(f"{model.path} was trained by {block.objective}, which samples no answers; name a stage 3")
        ids = {name: entry["id"] for name, entry in record["inputs"].items()}
        run = run_digest(record["version"], ids, block, record["raw_files"])
        if (state_dir := state_folder(store, run)).is_dir():
            return KeptRun(model, block, run, state_dir)
    raise InputError(
        f"the answers that {model.path} learned from are not here: they stay in {store.root} of the machine that "
        f"trained it. Train it here: `dvc repro --force --single-item train@{key}`"
    )


def publish_rollouts(run: KeptRun, out: Path, params: Params, *, min_reward: float | None) -> Artifact:
    """Write the answers of a run, those worth `min_reward` at least if it is given, as a corpus in `out`.

    Equal runs give equal bytes. Raises InputError when `out` exists, no answer is worth that much, or the
    project has another picture tokenizer by now.
    """
    started = datetime.now(UTC)
    if out.exists():
        raise InputError(f"{out} exists; raw corpora do not change, so choose another folder or remove this one")
    chosen = (
        (group, answer)
        for group, rewards in run.groups()
        for answer in run.answers(group, rewards)
        if min_reward is None or answer["reward"] >= min_reward
    )
    magvit = open_artifact(Path(params.paths.magvit))
    if magvit.id != run.model.metadata.get("magvit"):
        raise InputError(
            f"{magvit.path} is not the picture tokenizer that {run.model.path} was trained with, and would draw other "
            "pictures; restore it, or train the model again"
        )
    partial = out.with_name(f".{out.name}.partial")
    with explain_os_errors(out):
        shutil.rmtree(partial, ignore_errors=True)
        (partial / _PICTURES).mkdir(parents=True)
        count = _write(partial, chosen, picture_decoder(magvit.path))
        if not count:
            shutil.rmtree(partial)
            raise InputError(f"no answer of {run.model.path} is worth {min_reward}; lower --min-reward")
        metadata = {"model": run.model.id, "run": run.run, "answers": count, "min_reward": min_reward}
        artifact = write_manifest(partial, stage=STAGE, key=run.model.key, version=_VERSION, metadata=metadata)
        settle(partial, out)
    record = Run(
        stage=STAGE,
        key=run.model.key,
        version=_VERSION,
        path=out.as_posix(),
        inputs={name: (read.id, read.path.as_posix()) for name, read in (("model", run.model), ("magvit", magvit))},
        raw_files={},
        params={"min_reward": min_reward},
        started=started,
    )
    ProvenanceStore(Path(params.paths.provenance)).append(artifact, record)
    return artifact


def _write(folder: Path, chosen: Iterable[tuple[Group, dict[str, Any]]], decode: DecodePictures) -> int:
    """A file of rows per task, and the pictures, each once; returns the number of rows."""
    count = 0
    with ExitStack() as opened:
        files: dict[str, TextIO] = {}
        for group, answer in chosen:
            codes = picture_codes(group, answer["number"])
            row = answer if codes is None else answer | {"image": _write_picture(folder, codes, decode)}
            if (task := group.row.sample.task) not in files:
                files[task] = opened.enter_context((folder / f"{task}.jsonl").open("w", encoding="utf-8"))
            files[task].write(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_picture(folder: Path, codes: Int[np.ndarray, "h w"], decode: DecodePictures) -> str:
    name = f"{_PICTURES}/{sha256(codes.tobytes()).hexdigest()[:32]}.png"
    if not (folder / name).exists():
        Image.fromarray(decoded(codes, decode)).save(folder / name)
    return name
