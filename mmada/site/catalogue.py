"""What models and versions of data there are, read off their lineages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmada.lineage.trace import Lineage, Node
from mmada.site.data_page import Ledger


@dataclass(frozen=True)
class ModelEntry:
    """A model folder. `parent`: name of the model it started from, "" for the first; `selected_id`: the data."""

    name: str
    node: Node
    parent: str
    objective: str
    steps: int
    selected_id: str


@dataclass(frozen=True)
class DataVersion:
    """A set of selected rows. `rows`: (raw, kept, dropped), None where that version no longer lies here."""

    node: Node
    models: Sequence[str]
    rows: tuple[int, int, int] | None


def model_entries(lineages: Mapping[str, Lineage]) -> list[ModelEntry]:
    """The models, in the order of `lineages` (name -> lineage of the model)."""
    return [_entry(name, lineage) for name, lineage in lineages.items()]


def _entry(name: str, lineage: Lineage) -> ModelEntry:
    node = lineage.nodes[lineage.root]
    if node.stage != "train":
        return ModelEntry(name, node, "", node.stage.replace("_", " "), 0, "")
    block = lineage.training_block
    nearest = lineage.of_stage("select")
    objective = block.objective.replace("_", " ")
    return ModelEntry(name, node, block.init, objective, block.max_steps, nearest[0].id if nearest else "")


def data_versions(lineages: Mapping[str, Lineage], ledger: Ledger | None) -> list[DataVersion]:
    """Every set of selected rows in the models' lineages, with the models that descend from it."""
    nodes: dict[str, Node] = {}
    models: dict[str, list[str]] = {}
    for name, lineage in lineages.items():
        for node in lineage.of_stage("select"):
            nodes[node.id] = node
            models.setdefault(node.id, []).append(name)
    return [DataVersion(node, models[id_], _rows(ledger, id_)) for id_, node in nodes.items()]


def _rows(ledger: Ledger | None, selected_id: str) -> tuple[int, int, int] | None:
    if ledger is None or ledger.selected_id != selected_id:
        return None
    return ledger.num_raw, ledger.kept.height, ledger.dropped.height
