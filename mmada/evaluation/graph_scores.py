"""Scores that the stages of the graph made, in the score store beside those of published checkpoints."""

from pathlib import Path

from mmada.checkpoint_registry import load_registry
from mmada.errors import InputError
from mmada.evaluation.compare import scores_of
from mmada.evaluation.score_store import Entry, Measurement, ScoreStore
from mmada.lineage.manifest import open_artifact, read_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_schema import load_params


def collect_scores(made_in: Path, project: Path) -> list[Entry]:
    """Put scores that the graph made in `made_in` into the project's score store; what it has already stays."""
    params = load_params(made_in / "params.yaml")
    provenance = ProvenanceStore(made_in / params.paths.provenance)
    store = score_store(project)
    collected = []
    for name, checkpoint in load_registry(made_in / "models.yaml").items():
        scores, model_folder = made_in / params.paths.scores / name, made_in / checkpoint.path
        try:
            made, model = read_artifact(scores), read_artifact(model_folder)
        except InputError:
            continue
        for record in provenance.records(made.id)[-1:]:
            if record["inputs"]["model"]["id"] == model.id:
                identity = Measurement.from_record(record, scores_of(scores)).identity(name, model)
                if not store.has(identity):
                    open_artifact(scores)  # what is damaged is not kept for good
                collected.append(store.add(scores, identity, name, model, provenance))
    return collected


def score_store(project: Path) -> ScoreStore:
    """The project's score store."""
    return ScoreStore(project / load_params(project / "params.yaml").paths.score_store)
