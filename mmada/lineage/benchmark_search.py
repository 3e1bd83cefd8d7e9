"""Whether training data was searched for every registered benchmark, and passed the gate."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mmada.errors import GateError
from mmada.lineage.manifest import MANIFEST_NAME, Artifact, read_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.trace import trace

_SEARCHED: Final = "benchmark "
"""How write_shards names the items that it searched the rows for among its inputs."""


def refuse_unchecked(searched: Iterable[tuple[str, str]], registered: Sequence[str], items: Path, what: str) -> None:
    """Raise GateError unless every registered benchmark is among those that were searched for, by the same items.

    searched: benchmarks, each with the id of its items; `items`: the folder with those of today (one that is not there
    is taken to be unchanged); `what`: the data, in messages.
    """
    checked = {name for name, id_ in searched if not _is_other(items / name, id_)}
    unchecked = [name for name in registered if name not in checked]
    if unchecked:
        raise GateError(
            f"{what} are unchecked: they were not searched for {', '.join(unchecked)} of `benchmarks` in params.yaml, "
            "and may hold its items; `dvc repro write_shards` searches, and drops what it finds"
        )


def refuse_unchecked_shards(shards: Artifact, store: ProvenanceStore, registered: Sequence[str], items: Path) -> None:
    """Raise GateError unless shards passed a gate, and the rows they hold were searched for every registered benchmark.

    Only provenance is read: it holds on machines where neither gate nor facts lie. Each time that these very shards
    were written, their rows were searched for the items among the inputs.
    """
    if not trace(shards.path, store).of_stage("validate"):
        raise GateError(f"no gate let the rows of {shards.path} pass; run `dvc repro write_shards@{shards.key}`")
    searched = [
        (name.removeprefix(_SEARCHED), entry["id"])
        for record in store.records(shards.id)
        for name, entry in record["inputs"].items()
        if name.startswith(_SEARCHED)
    ]
    refuse_unchecked(searched, registered, items, f"the shards in {shards.path}")


def _is_other(folder: Path, id_: str) -> bool:
    return (folder / MANIFEST_NAME).is_file() and read_artifact(folder).id != id_
