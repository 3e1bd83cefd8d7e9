"""Checkpoints that were not made here: taken into the project on request, and marked as what they are."""

import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mmada.checkpoint_registry import Checkpoint, check_entry, register
from mmada.errors import CheckpointError, InputError
from mmada.lineage.manifest import MANIFEST_NAME, open_artifact, read_artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.params_schema import Params
from mmada.storage import link_tree, settle
from mmada.text_tokenizer import load_tokenizer
from mmada.training.checkpoint_folders import checkpoint_folder, keep_checkpoint

STAGE: Final = "external"
_VERSION: Final = 1


def register_checkpoint(folder: Path, name: str, params: Params, *, external: bool) -> Checkpoint:
    """Take the model in `folder` into the project's published checkpoints and register it as `name` in models.yaml.

    A folder whose provenance is known here is registered as published. Any other is refused unless `external` says that
    it was made elsewhere: its lineage ends here, and it is taken to read pictures by the project's own tokenizer.
    Raises InputError, CheckpointError or ContractError saying what is missing or does not fit.
    """
    _check_layout(folder)
    provenance = ProvenanceStore(Path(params.paths.provenance))
    store = Path(params.paths.checkpoints)
    if (folder / MANIFEST_NAME).exists() and provenance.records((artifact := open_artifact(folder)).id):
        entry = Checkpoint(path=checkpoint_folder(store, artifact.id).as_posix(), origin="published", id=artifact.id)
        check_entry(name, entry)  # what is refused leaves nothing behind
        keep_checkpoint(folder, store)
    elif not external:
        raise InputError(
            f"nothing in {params.paths.provenance} says how {folder} was made. Fetch its provenance (`git pull`), or "
            f"register it as made elsewhere: `mmada register {folder} {name} --external`"
        )
    else:
        entry = _take_in(folder, name, params, store, provenance)
    register(name, entry)
    return entry


def _check_layout(folder: Path) -> None:
    absent = [one for one in ("config.json",) if not (folder / one).is_file()]
    if not any(folder.glob("*.safetensors")):
        absent.append("*.safetensors")
    if absent:
        raise CheckpointError(f"{folder} is no model folder: it lacks {' and '.join(absent)}")


def _take_in(folder: Path, name: str, params: Params, store: Path, provenance: ProvenanceStore) -> Checkpoint:
    from mmada.model.weights import check_model, load_vocab

    check_model(folder)  # nothing takes out of models.yaml again what every evaluation would fail at
    load_tokenizer(folder, vocab=load_vocab(folder))
    started = datetime.now(UTC)
    partial = store / f".{secrets.token_hex(4)}.partial"
    try:
        link_tree(folder, partial, leave_out=frozenset({MANIFEST_NAME}))
        metadata = {"magvit": read_artifact(Path(params.paths.magvit)).id, "made": "elsewhere"}
        artifact = write_manifest(partial, stage=STAGE, key=name, version=_VERSION, metadata=metadata)
        target = checkpoint_folder(store, artifact.id)
        entry = Checkpoint(path=target.as_posix(), origin="external", id=artifact.id)
        check_entry(name, entry)  # what is refused leaves nothing behind
        source = {"source": folder.resolve().as_posix()}
        run = Run(STAGE, name, _VERSION, target.as_posix(), inputs={}, raw_files={}, params=source, started=started)
        provenance.append(artifact, run)
        settle(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return entry
