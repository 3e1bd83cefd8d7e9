"""From every score back to the raw rows: one graph, the facts of each output, and one way walked step by step."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mmada.lineage.trace import Lineage, Node
from mmada.site.checkpoint_scores import CheckpointScores, share_text
from mmada.site.html import (
    Content,
    Html,
    Section,
    absent,
    element,
    facts,
    folded,
    identity,
    join,
    link,
    more,
    page,
    picture,
    script_value,
    slug,
    table,
)
from mmada.site.lineage_graph import Graph, Vertex, drawing, merge
from mmada.site.shard_samples import ShardRows, ShardSample

_FILES: Final = 12
_LONGEST: Final = 600
"""Characters of a record that a page shows."""
_PAGES: Final[Mapping[str, str]] = {
    "ingest": "data.html#funnel",
    "select": "data.html#why-rows-were-dropped",
    "tokenize_images": "data.html#reconstructions",
    "validate": "data.html#the-gate",
}
"""Stage -> where another page shows its result."""


@dataclass(frozen=True)
class LineagePage:
    """The page, and the script beside it that holds what it shows of each output: megabytes, read after the page."""

    html: str
    facts: str


def lineage_page(
    lineages: Mapping[str, Lineage],
    rows: Mapping[str, ShardRows],
    scores: Sequence[CheckpointScores],
    untraced: Sequence[str],
) -> LineagePage:
    """The page. `lineages`: folder of a model or of scores -> its lineage; `rows`: id of shards -> their rows.

    `untraced`: why models or scores that lie here have no lineage.
    """
    answers = "Each output names the exact outputs that it was made of. From any copy of a checkpoint's folder,"
    lead = join([answers, element("code", "mmada trace"), "and", element("code", "mmada verify"), "say the same."])
    notes = join(element("p", reason, "absent") for reason in untraced)
    if not lineages:
        nothing = absent("Nothing has a recorded lineage yet.", "dvc repro")
        return LineagePage(
            page("lineage", lead, [Section("Graph", nothing)], intro=notes), script_value("described", {})
        )
    graph = merge(list(lineages.values()))
    hint = element("p", "Click an output: what it was made of, what was made of it, and every fact about it.", "soft")
    canvas = element("div", drawing(graph), "canvas panel")
    sections = [
        Section("Graph", join([_tools(graph), canvas, element("div", hint, "panel chosen", id="chosen")])),
        *_walk(lineages, rows, scores),
    ]
    described = {id_: _described(vertex, graph, rows).text for id_, vertex in graph.vertices.items()}
    return LineagePage(
        page("lineage", lead, sections, intro=notes, scripts=("lineage.js",)), script_value("described", described)
    )


def _tools(graph: Graph) -> Html:
    search = Html('<input type="search" placeholder="find: stage, key or id" aria-label="find an output">')
    legend = [element("span", kind, f"chip {kind}") for kind in ("raw", "data", "shards", "model", "score")]
    note = f"{len(graph.vertices):,} outputs; lines that follow from a longer way are left out"
    return element("div", join([search, *legend, element("span", note, "soft")]), "tools")


def _described(vertex: Vertex, graph: Graph, rows: Mapping[str, ShardRows]) -> Html:
    """What the page shows of a selected output."""
    node = vertex.node
    if vertex.kind == "raw":
        title = f"Raw files of {node.address}"
        return join([element("h3", title), _neighbours(vertex, graph), _files("raw files", node.raw_files)])
    commit = node.code["commit"][:12] or "none"
    patched = f"{commit} with patch {node.code['patch'][:12]}" if node.code["patch"] else commit
    shown: list[tuple[str, Content]] = [
        ("id", identity(node.id, linked=False)),
        ("folder", element("code", node.path)),
        ("version of the stage", str(node.version)),
        ("commit", element("code", patched)),
        ("finished", node.finished),
    ]
    target = _page_of(node)
    if target:
        shown.append(("see also", link(target, target)))
    parts: list[Content] = [element("h3", node.address), _neighbours(vertex, graph), facts(shown)]
    if node.id in rows:
        parts.append(_samples(rows[node.id]))
    parts.append(_files("files", node.files))
    parts.append(folded("Parameters", element("pre", json.dumps(node.params, indent=1, ensure_ascii=False))))
    return join(parts)


def _page_of(node: Node) -> str:
    if node.stage == "train":
        return f"training.html#{slug(node.key)}"
    return "scores.html" if node.stage == "evaluate" else _PAGES.get(node.stage, "")


def _neighbours(vertex: Vertex, graph: Graph) -> Html:
    lines = []
    for name, ids in (("made of", graph.inputs[vertex.id]), ("led to", graph.outputs.get(vertex.id, []))):
        near = [graph.vertices[id_] for id_ in ids]
        chips: list[Content] = [link(f"#{one.id}", f"{one.title} {one.subtitle}", f"chip {one.kind}") for one in near]
        lines.append(element("div", join([element("span", name, "soft"), *(chips or ["nothing"])]), "chips"))
    return join(lines)


def _files(what: str, files: Mapping[str, str]) -> Html:
    shown = list(files.items())[:_FILES]
    rows = [[element("code", name), identity(sha256, linked=False)] for name, sha256 in shown]
    listing = table(["file", "sha256"], rows)
    return folded(f"{len(files):,} {what}", join([listing, more(len(shown), len(files), what)]))


def _samples(found: ShardRows) -> Html:
    summary = f"{found.num_samples:,} samples from {found.num_raw_rows:,} raw rows"
    every = join([element("code", "mmada trace <model folder> --rows"), "lists them all."])
    return join([element("h4", summary), _sample_table(found.samples), element("p", every, "more")])


def _sample_table(samples: Iterable[ShardSample]) -> Html:
    rows = [[_sample(one), _origins(one), _record(one)] for one in samples]
    return table(["sample", "raw row", "what the raw row says"], rows, "answers")


def _sample(one: ShardSample) -> Html:
    task = element("div", f"task {one.task}, corpus {one.corpus}", "soft")
    return join([element("span", one.key, "id"), task])


def _origins(one: ShardSample) -> Html:
    return join(
        element(
            "div",
            join(
                [
                    element("b", f"{origin['corpus']} / {origin['source_file']} row {origin['row']}"),
                    element("div", join(["file ", identity(origin["file_sha256"], linked=False)]), "soft"),
                ]
            ),
        )
        for origin in one.origins
    )


def _record(one: ShardSample) -> Html:
    if one.record is None:
        return element("span", "no longer among the ingested rows", "soft")
    shown: list[Content] = [picture(one.picture, "the row's picture")] if one.picture else []
    for name in ("prompt", "response", "reference"):
        value = one.record[name]
        if value:
            cut = value if len(value) <= _LONGEST else f"{value[:_LONGEST]} ..."
            shown += [element("span", name, "soft"), element("pre", cut, dir="auto")]
    shown.append(element("div", f"{one.record['source']}, {one.record['licence']}", "soft"))
    return join(shown)


def _walk(
    lineages: Mapping[str, Lineage], rows: Mapping[str, ShardRows], scores: Sequence[CheckpointScores]
) -> Iterator[Section]:
    """The last checkpoint that has both scores and shards, from its scores down to a raw row."""
    for one in reversed(scores):
        lineage = lineages.get(one.folder.as_posix())
        shards = lineage.of_stage("write_shards") if lineage else []
        if lineage is None or not shards or shards[0].id not in rows:
            continue
        model = lineage.nodes[lineage.nodes[lineage.root].inputs["model"]]
        values = "; ".join(f"{name} {share_text(part)}" for name, part in one.benchmarks.items())
        found = rows[shards[0].id]
        steps = [
            ("score", values, lineage.root),
            ("model", f"{model.address} in {model.path}, finished {model.finished}", model.id),
            ("shards", f"{shards[0].address}: {found.num_samples:,} samples", shards[0].id),
        ]
        stairs = [_rung(name, join([element("div", what), identity(id_)])) for name, what, id_ in steps]
        firsts = {sample.corpus: sample for sample in reversed(found.samples)}
        stairs.append(_rung("samples, their raw rows, and what these say", _sample_table(firsts.values())))
        yield Section("From a score to a raw row", element("ol", join(stairs), "walk"))
        return


def _rung(name: str, content: Content) -> Html:
    return element("li", join([element("b", name), content]))
