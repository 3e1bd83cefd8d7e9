"""A small project of its own inside this one: stages run there as they do here, and nothing of this project is written.

It shares with this project, by links, what both need and neither changes.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mmada.checkpoint_registry import REGISTRY_FILE
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_schema import PARAMS_FILE, Params
from mmada.storage import link_tree
from mmada.yaml_file import write_yaml

SHARED: Final = ("ingested", "text_tokenizer", "magvit", "codes", "benchmark_items", "facts", "profiles")
"""Entries of `paths` that lie before selection."""


def make_side_project(
    folder: Path, params: Params, shared: Iterable[Path], checkpoints: Iterable[str], project: Params
) -> None:
    """The folder with its own `params` and registered `checkpoints`, and links to `shared`, folders of `project`.

    What was made there before goes, but for finished units of work and resume states.
    """
    shutil.rmtree(folder / "data", ignore_errors=True)
    for path in shared:
        link_tree(path, folder / path)
    here = ProvenanceStore(Path(project.paths.provenance))
    ProvenanceStore(folder / project.paths.provenance).merge(here)
    models = {name: {"path": f"{params.paths.models}/{name}", "origin": "pipeline"} for name in checkpoints}
    write_yaml({"checkpoints": models}, folder / REGISTRY_FILE)
    write_yaml(params.model_dump(mode="json"), folder / PARAMS_FILE)


def shared_folders(params: Params, names: Iterable[str] = SHARED) -> list[Path]:
    """The folders of these entries of `paths`."""
    return [Path(getattr(params.paths, name)) for name in names]
