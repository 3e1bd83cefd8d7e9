"""A place of its own for every triggered run: a git worktree that shares the DVC cache and finished units.

Two runs never meet in one folder; the same request always meets itself: its folder and its branch `runs/<digest>` are
named by what was asked. What a run leaves behind (parameters, dvc.lock, provenance) is committed on that branch.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from configobj import ConfigObj

from flows.remote import push
from flows.stage_graph import RunLogger, local_cache
from mmada.checkpoint_registry import Checkpoint, load_registry, register
from mmada.errors import InputError
from mmada.git import GitError, git
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_patch import patch_params
from mmada.params_schema import load_params
from mmada.storage import exclusive, link_tree
from mmada.unit_store import unit_key

RUNS_DIR: Final = Path(".mmada/runs")
_PREPARED: Final = Path(".mmada/prepared")
_WORKTREES: Final = Path(".mmada/locks/worktrees")
_DVC_PATHS: Final = ("url", "credentialpath", "configpath", "keyfile", "cert_path", "key_path")
"""Options of DVC's remotes that may be relative paths."""
_COMMITTED: Final = ("params.yaml", "models.yaml", "dvc.lock")


@dataclass(frozen=True)
class RunRequest:
    """Everything that the result of a triggered run depends on.

    `what`: kind of run and its targets. `commit`: full hash of the commit whose code, parameters and data it uses.
    `patch`: changes to params.yaml (JSON Merge Patch).
    """

    what: str
    commit: str
    patch: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """16 hex digits; equal requests have equal digests."""
        return unit_key(asdict(self))[:16]


@dataclass(frozen=True)
class RunWorkspace:
    """The worktree of a run. `project`: the folder whose deployments were triggered."""

    project: Path
    folder: Path
    request: RunRequest

    @property
    def lock(self) -> Path:
        """Lock file that the run holds."""
        return self.folder.with_suffix(".lock")

    @property
    def branch(self) -> str:
        """Git branch on which the run's results are committed."""
        return f"runs/{self.request.digest}"

    def add_checkpoint(self, source: Path, checkpoint: Checkpoint, name: str) -> None:
        """Put a published checkpoint's files (links, no copies) at its registered path, and register it here."""
        link_tree(source, self.folder / checkpoint.path)
        register(name, checkpoint, self.folder / "models.yaml")

    def finish(self, title: str, log: RunLogger) -> None:
        """Commit parameters, dvc.lock and provenance on the run's branch, give the project the provenance too, and push
        outputs and branch where there are remotes.

        Nothing new to commit is no error. Raises StorageError when a remote refuses.
        """
        provenance = load_params(self.folder / "params.yaml").paths.provenance
        present = [name for name in (*_COMMITTED, provenance) if (self.folder / name).exists()]
        git(self.folder, "add", "--force", "--", *present)
        if git(self.folder, "status", "--porcelain", "--untracked-files=no"):
            body = json.dumps(asdict(self.request), indent=1, sort_keys=True)
            git(self.folder, "commit", "--quiet", "--message", title, "--message", body)
        ProvenanceStore(self.project / provenance).merge(ProvenanceStore(self.folder / provenance))
        commit = git(self.folder, "rev-parse", "--short", "HEAD").strip()
        log.info("results are on branch %s, commit %s", self.branch, commit)
        for where in push(self.folder, home=self.project):
            log.info("pushed to %s", where)


@contextmanager
def run_workspace(project: Path, request: RunRequest, *, log: RunLogger) -> Iterator[RunWorkspace]:
    """The workspace of `request`, made when it is not there yet. Held until the block ends: the same request waits.

    Raises InputError when `project` is no git repository or the commit is unknown.
    """
    workspace = _workspace(project, request)
    log.info("workspace %s on branch %s", workspace.folder, workspace.branch)
    if left_out := _uncommitted(project, request):
        log.warning("commit these changes to make them part of a run; this one goes without: %s", ", ".join(left_out))
    with exclusive(workspace.lock):
        _prepare(workspace)
        yield workspace


@contextmanager
def run_workspace_if_free(project: Path, request: RunRequest) -> Iterator[RunWorkspace | None]:
    """`run_workspace`, or None when somebody holds it."""
    workspace = _workspace(project, request)
    with exclusive(workspace.lock, wait=False) as held:
        if held:
            _prepare(workspace)
        yield workspace if held else None


def drop_old_workspaces(project: Path, *, keep: int) -> list[str]:
    """Remove all but the `keep` workspaces that were used last, and none that is in use; returns their digests.

    Nothing is lost with them: results are on their branches and in the cache, and the same request makes them anew.
    """
    locks = sorted((project / RUNS_DIR).glob("*.lock"), key=lambda lock: lock.stat().st_mtime, reverse=True)
    dropped = []
    for lock in locks[keep:]:
        folder = lock.with_suffix("")
        with exclusive(lock, wait=False) as held, exclusive(project / _WORKTREES):
            if held and folder.is_dir():
                shutil.rmtree(folder)
                git(project, "worktree", "prune")
                dropped.append(folder.name)
    return dropped


def resolve_commit(project: Path, revision: str) -> str:
    """Full hash of a revision. Raises InputError when git does not know it."""
    try:
        return git(project, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
    except GitError:
        raise InputError(
            f"{project} has no commit {revision!r}; a triggered run needs a git repository with the project committed"
        ) from None


def _uncommitted(project: Path, request: RunRequest) -> list[str]:
    """Changed files that a run of the current commit does not see. dvc.lock is no input: it says what was made."""
    if request.commit != resolve_commit(project, "HEAD"):
        return []
    return git(project, "diff", "HEAD", "--name-only", "--", ".", ":(exclude)dvc.lock").splitlines()


def _workspace(project: Path, request: RunRequest) -> RunWorkspace:
    return RunWorkspace(project.resolve(), (project / RUNS_DIR / request.digest).resolve(), request)


def _prepare(workspace: RunWorkspace) -> None:
    if not (workspace.folder / _PREPARED).exists():
        _make(workspace)
    _link_registered(workspace)


def _link_registered(workspace: RunWorkspace) -> None:
    """Have the files of registered checkpoints that no stage makes: git brings their names, the graph needs more."""
    for checkpoint in load_registry(workspace.folder / "models.yaml").values():
        if checkpoint.origin != "pipeline":
            link_tree(workspace.project / checkpoint.path, workspace.folder / checkpoint.path)


def _make(workspace: RunWorkspace) -> None:
    """Build the worktree from nothing; a half-made one is thrown away first."""
    project, folder, request = workspace.project, workspace.folder, workspace.request
    with exclusive(project / _WORKTREES):
        shutil.rmtree(folder, ignore_errors=True)
        git(project, "worktree", "prune")
        if not git(project, "branch", "--list", workspace.branch):
            git(project, "branch", workspace.branch, request.commit)
        git(project, "worktree", "add", "--quiet", str(folder), workspace.branch)
    _share_cache(project, folder)
    _share(project, folder, ".mmada/units")
    _seed(project, folder, request)
    if request.patch:
        patch_file = folder / ".mmada/patch.yaml"
        patch_file.write_text(yaml.safe_dump(dict(request.patch)), encoding="utf-8")
        patch_params(folder / "params.yaml", patch_file)
    (folder / _PREPARED).touch()


def _share_cache(project: Path, folder: Path) -> None:
    """One DVC cache for all; what the project's own config.local says (remotes, credentials) holds here too.

    Paths of remotes that are relative to the project's .dvc, as DVC writes them, mean the same places here.
    """
    local = project / ".dvc/config.local"
    config = ConfigObj(str(local) if local.exists() else None)
    config.setdefault("cache", {})["dir"] = str(local_cache(project))
    committed = ConfigObj(str(folder / ".dvc/config"))
    for section in {*committed, *config} - {"cache"}:
        for option in _DVC_PATHS:
            path = str({**committed.get(section, {}), **config.get(section, {})}.get(option, "/"))
            if "://" not in path and not path.startswith(("/", "~")):
                config.setdefault(section, {})[option] = str((project / ".dvc" / path).resolve())
    config.filename = str(folder / ".dvc/config.local")
    config.write()


def _share(project: Path, folder: Path, name: str) -> None:
    target = project / name
    target.mkdir(parents=True, exist_ok=True)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(target)


def _seed(project: Path, folder: Path, request: RunRequest) -> None:
    """Give the workspace what the project knows and has not committed: it saves work and changes no result.

    dvc.lock says which outputs belong to which inputs (DVC checks it against both), provenance how they came to be.
    """
    at_head = request.commit == resolve_commit(project, "HEAD")
    lock = project / "dvc.lock"
    if lock.exists() and (at_head or not (folder / "dvc.lock").exists()):
        shutil.copy(lock, folder / "dvc.lock")
    provenance = load_params(folder / "params.yaml").paths.provenance
    ProvenanceStore(folder / provenance).merge(ProvenanceStore(project / provenance))
