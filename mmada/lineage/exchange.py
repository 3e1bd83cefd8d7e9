"""Artifacts on their way between machines that share no disk: sent to an object store, fetched, verified."""

from pathlib import Path

from mmada.errors import InputError, IntegrityError
from mmada.lineage.manifest import MANIFEST_NAME, Artifact, changed_files, file_sha256, read_artifact
from mmada.storage import atomic_write, open_storage


def send(folder: Path, url: str) -> Artifact:
    """Put the artifact in `folder` below `url` (s3://bucket/prefix or a folder), its manifest last.

    What is there already is not sent again. Raises IntegrityError when the files are not those of the manifest.
    """
    artifact, storage = read_artifact(folder), open_storage(url)
    manifest = (folder / MANIFEST_NAME).read_bytes()
    try:
        if storage.read(MANIFEST_NAME) == manifest:
            return artifact
    except InputError:  # nothing is there
        pass
    for name, sha256 in sorted(artifact.files.items()):
        if file_sha256(folder / name) != sha256:
            raise IntegrityError(f"{folder / name} is not the file of {MANIFEST_NAME}; restore it before it is sent")
        storage.upload(name, folder / name)
    storage.write(MANIFEST_NAME, manifest)
    return artifact


def fetch(url: str, folder: Path, id_: str = "") -> Artifact:
    """The artifact below `url` in `folder`, every file held against its sha256; what is there whole is not fetched.

    `id_`: what it must be. Raises InputError when nothing is there, IntegrityError when it is another artifact, or a
    file that was fetched is not that of the manifest.
    """
    storage = open_storage(url)
    atomic_write(folder / MANIFEST_NAME, storage.read(MANIFEST_NAME))
    artifact = read_artifact(folder)
    if id_ and artifact.id != id_:
        raise IntegrityError(f"{url} is artifact {artifact.id[:12]}, not {id_[:12]}; delete it there, and run again")
    for name in changed_files(artifact):
        if name not in artifact.files:
            (folder / name).unlink()
            continue
        storage.download(name, folder / name)
        if file_sha256(folder / name) != artifact.files[name]:
            raise IntegrityError(f"{url}/{name} is not the file of {MANIFEST_NAME}; delete all of it, and run again")
    return artifact
