"""From every checkpoint back to the raw rows, folded out step by step."""

from collections.abc import Mapping, Sequence

import polars as pl

from mmada.lineage.trace import Lineage, Node
from mmada.site.html import Content, Html, element, join, page, section, table, text

_ROWS = 8
_FILES = 10


def lineage_page(lineages: Mapping[str, Lineage]) -> str:
    """The page. `lineages`: checkpoint -> its lineage."""
    shown: set[str] = set()
    body: list[Content] = [
        section(name, join([_tree(lineage, lineage.root, shown), *_rows(lineage)]))
        for name, lineage in lineages.items()
    ]
    lead = (
        "Each output names the exact outputs that it was made of. The same answers come from `mmada trace`, "
        "from any copy of a checkpoint's folder."
    )
    return page("lineage", lead, body)


def _tree(lineage: Lineage, id_: str, shown: set[str]) -> Html:
    """An output that stands further up is a link to that place."""
    node = lineage.nodes[id_]
    if id_ in shown:
        return element(
            "div", Html(f'<a href="#{id_}">{text(node.address)}</a> {text(element("span", id_[:16], "id"))}')
        )
    shown.add(id_)
    summary = Html(f"<summary>{text(node.address)} {text(element('span', id_[:16], 'id'))}</summary>")
    inputs = [_tree(lineage, input_id, shown) for input_id in dict.fromkeys(node.inputs.values())]
    inner = element("div", join([_facts(node), *inputs]), "panel")
    return Html(f'<details id="{id_}">{summary.text}{inner.text}</details>')


def _facts(node: Node) -> Html:
    commit = node.code["commit"][:12] or "none"
    rows: list[Sequence[Content]] = [
        ["made in", node.path],
        ["version of the stage", node.version],
        ["commit", f"{commit} with a patch ({node.code['patch'][:12]})" if node.code["patch"] else commit],
        ["finished", node.finished],
        ["files", len(node.files)],
    ]
    raw = list(node.raw_files.items())
    rows += [[f"raw file {path}", element("span", sha256[:16], "id")] for path, sha256 in raw[:_FILES]]
    if len(raw) > _FILES:
        rows.append(["further raw files", len(raw) - _FILES])
    return table(["", ""], rows)


def _rows(lineage: Lineage) -> list[Html]:
    return [
        _samples(node, rows) for node, rows in zip(lineage.of_stage("write_shards"), lineage.raw_rows(), strict=True)
    ]


def _samples(node: Node, rows: pl.DataFrame) -> Html:
    """A few samples with their raw rows; the command line lists all."""
    shown = table(
        ["sample", "raw rows"],
        [
            [
                element("span", row["key"], "id"),
                "; ".join(f"{o['corpus']} {o['source_file']} row {o['row']}" for o in row["origins"]),
            ]
            for row in rows.head(_ROWS).iter_rows(named=True)
        ],
    )
    summary = element("summary", f"{node.address}: {rows.height:,} samples, the first {_ROWS}")
    return element("details", join([summary, shown]))
