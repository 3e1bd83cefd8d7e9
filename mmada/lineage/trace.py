"""Walk from an output back to the raw rows: provenance joined over ids.

Only files are read, and none of them depends on params.yaml as it is now, nor on where the output lies. Of several ways
in which the same bytes were made, the one is told whose inputs lie in the project now.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from mmada.errors import InputError, IntegrityError
from mmada.lineage.manifest import read_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_training import TrainingBlock, recorded_block
from mmada.shards.order import Pick
from mmada.training.order import training_order


@dataclass(frozen=True)
class Node:
    """One output in a lineage, with what made it."""

    id: str
    stage: str
    key: str
    version: int
    path: str
    files: Mapping[str, str]
    inputs: Mapping[str, str]
    """Input name -> id."""
    raw_files: Mapping[str, str]
    params: Mapping[str, Any]
    code: Mapping[str, str]
    finished: str
    rows: Mapping[str, Any]
    """Rows in, kept, and dropped by reason; empty for outputs that are not made of rows."""
    events: Mapping[str, Any] = field(default_factory=dict)
    """What happened on the way and shaped the output, such as batches that training skipped."""

    @property
    def address(self) -> str:
        """stage or stage@key."""
        return f"{self.stage}@{self.key}" if self.key else self.stage


@dataclass(frozen=True)
class Lineage:
    """All outputs that an output descends from, itself first, inputs after what was made of them."""

    root: str
    nodes: Mapping[str, Node]
    store: ProvenanceStore

    def of_stage(self, stage: str) -> list[Node]:
        """Nodes that a stage made, nearest to the root first."""
        return [node for node in self.nodes.values() if node.stage == stage]

    def raw_files(self) -> list[tuple[str, str]]:
        """Raw file and sha256, for the whole lineage; a file of which outputs read several versions stands here with
        each.
        """
        found = (pair for node in self.nodes.values() for pair in sorted(node.raw_files.items()))
        return list(dict.fromkeys(found))

    def raw_rows(self) -> Iterator[pl.DataFrame]:
        """For each set of shards, nearest first: sample key, corpus, task, row id and origins (raw rows)."""
        for node in self.of_stage("write_shards"):
            yield self._rows(node).select("key", "corpus", "task", "row_id", "origins")

    def step_rows(self, step: int) -> pl.DataFrame:
        """The very samples of a training step of the root model, in batch order, with their raw rows; `skipped`: why
        the step did not move the weights, "" where it did.

        Raises InputError when the root is not a trained model or the step is outside its run.
        """
        node = self.nodes[self.root]
        if node.stage != "train":
            raise InputError(f"{node.path} was made by {node.address}, not by training: it has no steps")
        block = self.training_block
        steps = node.params.get("steps_done", block.max_steps)  # fewer in a checkpoint published on the way
        if not 0 <= step < steps:
            raise InputError(f"step {step} is outside the run of {node.address}: 0 to {steps - 1}")
        shards = self.nodes[node.inputs["shards"]]
        index = self._rows(shards)
        keys = dict(index.group_by("corpus", maintain_order=True).agg("key").iter_rows())
        picks = training_order(keys, block).batch(step)
        rows = _picks_table(picks).join(
            index.select("key", "task", "row_id", "origins"), on="key", how="left", maintain_order="left"
        )
        skipped = {batch["step"]: batch["reason"] for batch in node.events.get("skipped_batches", [])}
        return rows.with_columns(skipped=pl.lit(skipped.get(step, "")))

    @property
    def training_block(self) -> TrainingBlock:
        """With what the root model was trained. Raises IntegrityError when its record does not say."""
        node = self.nodes[self.root]
        try:
            return recorded_block(node.params[f"training.{node.key}"])
        except (KeyError, ValidationError) as error:
            raise self.store.damaged(node.id, error) from None

    def _rows(self, node: Node) -> pl.DataFrame:
        with self.store.reading_rows():
            return pl.read_parquet(self.store.existing_rows_file(node.id))


def _picks_table(picks: list[Pick]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "corpus": [pick.corpus for pick in picks],
            "key": [pick.key for pick in picks],
            "epoch": [pick.epoch for pick in picks],
        }
    )


def trace(folder: Path, store: ProvenanceStore, project: Path = Path()) -> Lineage:
    """Lineage of the output in `folder`, wherever it lies. `project`: the folder in which it was made.

    Raises InputError when the folder holds no output, or the store knows nothing of its id.
    """
    return _walk(read_artifact(folder).id, folder.as_posix(), store, project)


def trace_id(id_: str, store: ProvenanceStore, project: Path = Path()) -> Lineage:
    """Lineage of the output of this id, which may lie nowhere by now. Raises InputError when the store does not know
    it.
    """
    return _walk(id_, "the output", store, project)


def _walk(root: str, where: str, store: ProvenanceStore, project: Path) -> Lineage:
    nodes: dict[str, Node] = {}
    waiting = [(root, where)]
    while waiting:
        id_, where = waiting.pop(0)
        if id_ in nodes:
            continue
        nodes[id_] = node = _node(id_, where, store, project)
        waiting += [(input_id, f"{name} of {node.address}") for name, input_id in node.inputs.items()]
    return Lineage(root, nodes, store)


def _node(id_: str, where: str, store: ProvenanceStore, project: Path) -> Node:
    records = store.records(id_)
    if not records:
        raise InputError(
            f"{where} has id {id_}, which {store.root} does not know: run inside the project that made it "
            "(or name it with --project), with its provenance pulled"
        )
    record = records[-1]
    if len(records) > 1:  # a change of params.yaml that was taken back leaves the newest way without its inputs
        record = next((way for way in reversed(records) if _inputs_lie_here(way, project)), record)
    try:
        return Node(
            id=id_,
            stage=record["stage"],
            key=record["key"],
            version=record["version"],
            path=record["path"],
            files=record["files"],
            inputs={name: entry["id"] for name, entry in record["inputs"].items()},
            raw_files=record["raw_files"],
            params=record["params"],
            code=record["code"],
            finished=record["finished"],
            rows=record.get("rows", {}),
            events=record.get("events", {}),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise store.damaged(id_, error) from None


def _inputs_lie_here(way: Mapping[str, Any], project: Path) -> bool:
    try:
        return all(read_artifact(project / read["path"]).id == read["id"] for read in way["inputs"].values())
    except (InputError, IntegrityError):
        return False
