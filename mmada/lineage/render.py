"""Lineage as text or JSON for the command line."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from mmada.errors import IntegrityError
from mmada.lineage.difference import Change, Difference, difference, find_lineage, version_before
from mmada.lineage.impact import impact
from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.trace import Lineage, Node, trace
from mmada.lineage.verify import verify

_SHORT = 12
_MOST_LINES = 20
_PROVENANCE_DEFAULT = Path("data/provenance")


def print_trace(folder: Path, project: Path, *, step: int | None, rows: bool, as_json: bool) -> None:
    """Print the lineage of `folder`: outputs, raw files, and on request the rows of a step or of the whole run."""
    lineage = trace(folder, _store(project), project)
    if step is not None:
        _print_rows(lineage.step_rows(step))
    elif rows:
        for table in lineage.raw_rows():
            _print_rows(table)
    elif as_json:
        _write(json.dumps(_as_dict(lineage), indent=1, sort_keys=True))
    else:
        for line in trace_lines(lineage):
            _write(line)


def trace_lines(lineage: Lineage) -> list[str]:
    """The lineage as an indented tree; an output that was named before is not unfolded again."""
    lines: list[str] = []
    _unfold(lineage, lineage.root, 0, set(), lines)
    raw = lineage.raw_files()
    lines.append(f"{len(raw)} raw files, for example:")
    lines += [f"  {sha[:_SHORT]}  {path}" for path, sha in raw[:3]]
    for node, table in zip(lineage.of_stage("write_shards"), lineage.raw_rows(), strict=True):
        origins = table.get_column("origins").list.len().sum()
        lines.append(f"{node.address}: {table.height} samples from {origins} raw rows (--rows lists them all)")
    return lines


def _unfold(lineage: Lineage, id_: str, depth: int, seen: set[str], lines: list[str]) -> None:
    node = lineage.nodes[id_]
    mark = " (above)" if id_ in seen else ""
    commit = node.code["commit"][:_SHORT] or "no commit"
    dirty = "+patch" if node.code["patch"] else ""
    lines.append(f"{'  ' * depth}{node.address}  {id_[:_SHORT]}  {node.path}  v{node.version} {commit}{dirty}{mark}")
    if id_ in seen:
        return
    seen.add(id_)
    lines += [f"{'  ' * (depth + 1)}{override}" for override in overrides(node)]
    for input_id in node.inputs.values():
        _unfold(lineage, input_id, depth + 1, seen, lines)


def overrides(node: Node) -> list[str]:
    """For each check of a gate that was let pass although it failed: which, by whom, and why."""
    entries = node.params["gate"].get("overrides", []) if node.stage == "validate" else []
    return [f"override of {entry['check']!r} by {entry['who']}: {entry['why']}" for entry in entries]


def print_verification(folder: Path, project: Path, *, as_json: bool) -> None:
    """Print what `verify` finds. Raises IntegrityError when anything is not as it was."""
    lineage = trace(folder, _store(project), project)
    result = verify(folder, lineage, project)
    if as_json:
        found = [vars(finding) for finding in result.findings]
        _write(json.dumps({"files": result.num_files, "findings": found}, indent=1, sort_keys=True))
    else:
        for finding in result.findings:
            _write(f"{finding.state:10s} {finding.path}  ({finding.made_by})")
        _write(f"{result.num_files} files of {len(lineage.nodes)} outputs re-hashed, {len(result.findings)} findings")
    if result.findings:
        raise IntegrityError(
            f"{len(result.findings)} files are not what {folder} was made from; `dvc checkout` restores outputs, "
            "`git checkout` row indexes, raw files come back from their source"
        )


def print_impact(asked: str, project: Path, *, as_json: bool) -> None:
    """Print what a raw file, folder or row reaches, one output per line, the strongest relation first."""
    result = impact(asked, _store(project))
    if as_json:
        affected = [{**vars(output), "address": output.address} for output in result.affected]
        _write(json.dumps({"raw_files": dict(result.raw_files), "affected": affected}, indent=1, sort_keys=True))
        return
    paths = sorted(path for paths in result.raw_files.values() for path in paths)
    _write(f"{len(paths)} raw files, for example {', '.join(paths[:3])}")
    for output in result.affected:
        samples = f"  {output.samples} samples" if output.samples is not None else ""
        _write(f"{output.relation:12s}{output.address}  {output.id[:_SHORT]}  {output.path}{samples}")


def print_difference(asked: str, earlier: str, project: Path, *, as_json: bool) -> None:
    """Print what has changed from `earlier` (an output as `asked`, or "" for the version made before it)."""
    store = _store(project)
    new = find_lineage(asked, store, project)
    old = find_lineage(earlier, store, project) if earlier else version_before(new)
    found = difference(old, new, project)
    if as_json:
        _write(json.dumps(asdict(found), indent=1, sort_keys=True, ensure_ascii=False))
        return
    for line in difference_lines(found):
        _write(line)


def difference_lines(found: Difference) -> Iterator[str]:
    """A difference as text: what was read, then what was made of it."""
    for side, node in (("old", found.old), ("new", found.new)):
        yield f"{side}  {node.address}  {node.id[:_SHORT]}  {node.path}  {node.finished}"
    if found.old.id == found.new.id:
        yield "they are the same"
        return
    yield from _titled("raw files", [_file_change(change) for change in found.raw_files])
    settings = [f"{change.name}  {_shown(change.old)} -> {_shown(change.new)}" for change in found.params]
    yield from _titled("settings", settings)
    yield from _titled("versions of stages", [f"{one.name}  v{one.old} -> v{one.new}" for one in found.versions])
    if found.sources is None:
        commits = sorted({f"{change.old} -> {change.new}" for change in found.code})
        yield from _titled("code, of commits that git does not know here", commits)
    else:
        yield from _titled("code", found.sources)
    patched = sorted(
        {f"{change.name}  {change.old} -> {change.new}" for change in found.code if "+" in f"{change.old}{change.new}"}
    )
    yield from _titled("code that was not committed (patches in the provenance)", patched)
    moved = [one for one in found.samples if one.added or one.removed]
    yield from _titled(
        "samples that training could read",
        [f"{one.corpus}  {one.old:,} -> {one.new:,}: {one.added:,} added, {one.removed:,} removed" for one in moved],
    )
    outputs = [f"{one.name}  {_short(one.old)} -> {_short(one.new)}" for one in found.outputs]
    yield from _titled("outputs", outputs)


def _titled(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"{title}: {len(lines)}"
        yield from (f"  {line}" for line in lines[:_MOST_LINES])
        if len(lines) > _MOST_LINES:
            yield f"  ... {len(lines) - _MOST_LINES} more (--json names all)"


def _file_change(change: Change) -> str:
    sign = "added" if change.old is None else "removed" if change.new is None else "changed"
    return f"{sign:8s}{change.name}  {_short(change.old)} -> {_short(change.new)}"


def _short(id_: str | None) -> str:
    return id_[:_SHORT] if id_ else "-"


def _shown(value: Any) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False)


def _store(project: Path) -> ProvenanceStore:
    """The project's provenance; params.yaml may say where it lies, and may otherwise be wrong by now."""
    try:
        paths = (yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8")) or {})["paths"]
        return ProvenanceStore(project / paths["provenance"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ProvenanceStore(project / _PROVENANCE_DEFAULT)


def _as_dict(lineage: Lineage) -> dict[str, Any]:
    def plain(node: Node) -> dict[str, Any]:
        return {**vars(node), "address": node.address}

    return {"root": lineage.root, "outputs": [plain(node) for node in lineage.nodes.values()]}


def _print_rows(table: pl.DataFrame) -> None:
    for row in table.iter_rows(named=True):
        _write(json.dumps(row, ensure_ascii=False, sort_keys=True))


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
