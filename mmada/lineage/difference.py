"""What lies between two outputs: raw files, samples, settings and code by which their lineages differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from mmada.errors import InputError
from mmada.git import GitError, git
from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.trace import Lineage, Node, trace, trace_id

_SOURCES: Final = "mmada"
"""Folder of the project's own code."""


@dataclass(frozen=True)
class Change:
    """Something that is not the same in both; None: it is not there."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True)
class SampleChange:
    """Samples of one corpus that training could read."""

    corpus: str
    old: int
    new: int
    added: int
    removed: int


@dataclass(frozen=True)
class Difference:
    """`outputs`: ids by stage@key; `params`: settings that stages of both read, by their dotted paths; `raw_files`:
    sha256 by path; `code`: commits by stage@key, with `+patch` for uncommitted changes; `sources`: files of the code
    that differ between those commits, None where git does not know them; `versions`: of stages.
    """

    old: Node
    new: Node
    outputs: list[Change]
    params: list[Change]
    raw_files: list[Change]
    samples: list[SampleChange]
    versions: list[Change]
    code: list[Change]
    sources: list[str] | None


def difference(old: Lineage, new: Lineage, project: Path) -> Difference:
    """What has changed from `old` to `new`. Raises IntegrityError when a row index is missing or damaged."""
    root = new.nodes[new.root]
    before, after = _by_address(old, root), _by_address(new, root)
    both = [address for address in after if address in before]
    code = list(_changes({a: _commit(before[a]) for a in both}, {a: _commit(after[a]) for a in both}))
    return Difference(
        old=old.nodes[old.root],
        new=root,
        outputs=list(_changes(_ids(before), _ids(after))),
        params=list(_changes(_params(before, both), _params(after, both))),
        raw_files=list(_changes(dict(old.raw_files()), dict(new.raw_files()))),
        samples=_samples(old, new),
        versions=list(_changes({a: before[a].version for a in both}, {a: after[a].version for a in both})),
        code=code,
        sources=_sources({(before[c.name].code["commit"], after[c.name].code["commit"]) for c in code}, project),
    )


def find_lineage(asked: str, store: ProvenanceStore, project: Path) -> Lineage:
    """Lineage of an output by its folder, its id, or the beginning of its id.

    Raises InputError when it is none of these, or several.
    """
    if Path(asked).is_dir():
        return trace(Path(asked), store, project)
    known = {record["id"] for record in store.all_records()}
    found = sorted(id_ for id_ in known if id_.startswith(asked))
    if len(found) != 1:
        what = f"{len(found)} outputs, {', '.join(id_[:16] for id_ in found[:5])}" if found else "no folder and no id"
        raise InputError(f"{asked!r} is {what}; name a folder such as data/models/stage3, or more digits of an id")
    return trace_id(found[0], store, project)


def version_before(lineage: Lineage) -> Lineage:
    """Lineage of the version of an output that was made last before it, by the same stage.

    Raises InputError when none is recorded.
    """
    node, records = lineage.nodes[lineage.root], lineage.store.all_records()
    alike = [record for record in records if _address(record) == node.address]
    made = {record["id"]: (record["finished"], record["started"]) for record in alike}
    earlier = [id_ for id_, when in made.items() if when < made[node.id]]
    if not earlier:
        raise InputError(f"no version of {node.address} before {node.id[:12]} is recorded; name another output")
    return trace_id(max(earlier, key=lambda id_: made[id_]), lineage.store)


def _address(record: Mapping[str, Any]) -> str:
    return f"{record['stage']}@{record['key']}" if record["key"] else str(record["stage"])


def _by_address(lineage: Lineage, root: Node) -> dict[str, Node]:
    """Nodes by stage@key; of several, the one nearest to the root, which is called as `root` is."""
    own = lineage.nodes[lineage.root]
    nodes = {node.address: node for node in reversed(list(lineage.nodes.values())) if node.id != own.id}
    if own.stage == root.stage:
        renamed = {
            ".".join(root.key if part == own.key else part for part in path.split(".")): path for path in own.params
        }
        own = replace(own, key=root.key, params={name: own.params[path] for name, path in renamed.items()})
    return {**nodes, own.address: own}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield Change(name, old.get(name), new.get(name))


def _ids(nodes: Mapping[str, Node]) -> dict[str, str]:
    return {address: node.id for address, node in nodes.items()}


def _commit(node: Node) -> str:
    return node.code["commit"] + (f"+{node.code['patch'][:12]}" if node.code["patch"] else "")


def _params(nodes: Mapping[str, Node], addresses: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for address in addresses:
        for path, value in nodes[address].params.items():
            found.update(_leaves(path, value))
    return found


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}", item)
    else:
        yield path, value


def _samples(old: Lineage, new: Lineage) -> list[SampleChange]:
    before = _keys(old).with_columns(old=pl.lit(value=True))
    after = _keys(new).with_columns(new=pl.lit(value=True))
    joined = before.join(after, on=["corpus", "key"], how="full", coalesce=True).fill_null(value=False)
    counted = joined.group_by("corpus").agg(
        pl.col("old").sum(),
        pl.col("new").sum(),
        added=(pl.col("new") & ~pl.col("old")).sum(),
        removed=(pl.col("old") & ~pl.col("new")).sum(),
    )
    return [SampleChange(**row) for row in counted.sort("corpus").iter_rows(named=True)]


def _keys(lineage: Lineage) -> pl.DataFrame:
    empty = pl.DataFrame(schema={"corpus": pl.String, "key": pl.String})
    return pl.concat([empty, *(table.select("corpus", "key") for table in lineage.raw_rows())]).unique()


def _sources(commits: set[tuple[str, str]], project: Path) -> list[str] | None:
    try:
        diffs = [git(project, "diff", "--name-only", old, new, "--", _SOURCES) for old, new in sorted(commits)]
    except GitError:
        return None
    return sorted({name for diff in diffs for name in diff.splitlines()})
