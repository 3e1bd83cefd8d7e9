"""What a run makes on machines that share no disk with its project, on its way home through an object store."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from mmada.lineage.exchange import fetch, send
from mmada.lineage.manifest import MANIFEST_NAME, Artifact, write_manifest
from mmada.storage import link_tree, open_storage
from mmada.training.checkpoints import Position, position_of
from mmada.training.publication import Publication

_MODEL: Final = "model"
_PUBLISHED: Final = "published"

WriteModel = Callable[[Path], None]


@dataclass(frozen=True)
class Outbox:
    """Model folders below `url`, each with a manifest that came last: what has one has come whole.

    `scratch`: a folder of this machine for what is on its way.
    """

    url: str
    scratch: Path

    def publish(self, position: Position, write_model: WriteModel) -> None:
        """Send the checkpoint that stands at `position`; see Publication.publish."""
        self._send(f"{_PUBLISHED}/step-{position.step:09d}", {"position": asdict(position)}, write_model)

    def finish(self, write_model: WriteModel) -> None:
        """Send the finished model."""
        self._send(_MODEL, {}, write_model)

    def _send(self, name: str, metadata: dict[str, object], write_model: WriteModel) -> None:
        with self._empty_folder() as folder:
            write_model(folder)
            write_manifest(folder, stage="train", version=1, metadata=metadata)
            send(folder, f"{self.url}/{name}")

    def bring_published(self, publication: Publication) -> None:
        """Publish in the project what has come, and clear it away."""
        storage = open_storage(self.url)
        for name in list(storage.names(f"{_PUBLISHED}/")):
            if name.endswith(f"/{MANIFEST_NAME}"):
                with self._fetched(name.removesuffix(f"/{MANIFEST_NAME}")) as come:
                    position = position_of(come.metadata["position"])
                    publication.publish(position, lambda folder, come=come: _unpack(come, folder))  # type: ignore[misc]  # mypy takes no default
                for file in (MANIFEST_NAME, *come.files):  # without its manifest it is no longer there
                    storage.delete(f"{name.removesuffix(MANIFEST_NAME)}{file}")

    def bring_model(self, out: Path) -> None:
        """The finished model, in the folder `out`. Raises InputError when it has not come."""
        with self._fetched(_MODEL) as come:
            _unpack(come, out)

    @contextmanager
    def _fetched(self, name: str) -> Iterator[Artifact]:
        with self._empty_folder() as folder:
            yield fetch(f"{self.url}/{name}", folder)

    @contextmanager
    def _empty_folder(self) -> Iterator[Path]:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        try:
            yield self.scratch
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)


def _unpack(come: Artifact, folder: Path) -> None:
    """Its files without the manifest that they travelled with."""
    link_tree(come.path, folder, leave_out=frozenset({MANIFEST_NAME}))
