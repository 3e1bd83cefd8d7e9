"""The outputs of all lineages as one graph in layers: raw files on the left, scores on the right.

`lineage.js` draws its lines and marks what a selected output comes from and leads to.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from mmada.lineage.trace import Lineage, Node
from mmada.site.html import Content, Html, element, join, json_block

_WIDTH, _HEIGHT, _GAP_X, _STEP = 126, 40, 22, 52
"""Pixels: a box, the space between columns, and from one box to the next below it. style.css has the same."""
_TILE: Final = 16
_SWEEPS: Final = 4


@dataclass(frozen=True)
class Vertex:
    """A place in the graph: an output, or the raw files that an output was read from (`node` is their reader)."""

    id: str
    title: str
    subtitle: str
    kind: str
    node: Node
    layer: int
    row: int


@dataclass(frozen=True)
class Graph:
    """`vertices` by id; `inputs`: id -> ids that it was directly made of."""

    vertices: Mapping[str, Vertex]
    inputs: Mapping[str, Sequence[str]]

    @cached_property
    def outputs(self) -> dict[str, list[str]]:
        """Id -> ids that were directly made of it."""
        found: dict[str, list[str]] = defaultdict(list)
        for id_, inputs in self.inputs.items():
            for source in inputs:
                found[source].append(id_)
        return found


def raw_id(node: Node) -> str:
    """Anchor of the raw files that an output was read from."""
    return f"raw-{node.id}"


def merge(lineages: Sequence[Lineage]) -> Graph:
    """One graph of all nodes of several lineages, laid out."""
    nodes = {id_: node for lineage in lineages for id_, node in lineage.nodes.items()}
    inputs = {id_: list(dict.fromkeys(node.inputs.values())) for id_, node in nodes.items()}
    for id_, node in nodes.items():
        if node.raw_files:
            inputs[id_].append(raw_id(node))
            inputs[raw_id(node)] = []
    layers = _layers(inputs)
    rows = _rows(inputs, layers)
    vertices = {id_: _output(node, layers[id_], rows[id_]) for id_, node in nodes.items()}
    for node in nodes.values():
        if node.raw_files:
            id_ = raw_id(node)
            title = "1 raw file" if len(node.raw_files) == 1 else f"{len(node.raw_files):,} raw files"
            vertices[id_] = Vertex(id_, title, node.key, "raw", node, layers[id_], rows[id_])
    return Graph(vertices, inputs)


def _output(node: Node, layer: int, row: int) -> Vertex:
    kinds = {"train": "model", "init_model": "model", "evaluate": "score", "write_shards": "shards"}
    return Vertex(node.id, node.stage, node.key or node.id[:8], kinds.get(node.stage, "data"), node, layer, row)


def _in_order(inputs: Mapping[str, Sequence[str]]) -> list[str]:
    """Ids, every one after all of its inputs."""
    done: dict[str, None] = {}
    for start in inputs:
        waiting = [start]
        while waiting:
            id_ = waiting[-1]
            unknown = [source for source in inputs[id_] if source not in done]
            if unknown:
                waiting += unknown
                continue
            done.setdefault(waiting.pop())
    return list(done)


def _layers(inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Column of each output, as far to the right as what was made of it allows; every input lies further left."""
    before_end: dict[str, int] = defaultdict(int)
    for id_ in reversed(_in_order(inputs)):
        for source in inputs[id_]:
            before_end[source] = max(before_end[source], before_end[id_] + 1)
    longest = max(before_end.values(), default=0)
    return {id_: longest - before_end[id_] for id_ in inputs}


def _rows(inputs: Mapping[str, Sequence[str]], layers: Mapping[str, int]) -> dict[str, int]:
    """Places within layers: near the mean of one's neighbours, so that few lines cross."""
    neighbours: dict[str, list[str]] = defaultdict(list)
    columns: dict[int, list[str]] = defaultdict(list)
    for id_, sources in inputs.items():
        columns[layers[id_]].append(id_)
        for source in sources:
            neighbours[id_].append(source)
            neighbours[source].append(id_)
    rows = {id_: row for column in columns.values() for row, id_ in enumerate(column)}

    def centre(id_: str) -> float:
        """Where the neighbours stand, as a share of their columns' heights."""
        around = neighbours[id_]
        return sum((rows[n] + 0.5) / len(columns[layers[n]]) for n in around) / len(around) if around else 0.0

    for sweep in range(_SWEEPS):
        for layer in sorted(columns, reverse=bool(sweep % 2)):
            columns[layer].sort(key=centre)
            rows |= {id_: row for row, id_ in enumerate(columns[layer])}
    return rows


def essential(inputs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Inputs without those that also reach an output by a longer way: what is drawn (transitive reduction)."""
    order = _in_order(inputs)
    number = {id_: place for place, id_ in enumerate(order)}
    above: dict[str, int] = {}  # ids that an output descends from, as the bits of a number
    for id_ in order:
        above[id_] = 0
        for source in inputs[id_]:
            above[id_] |= above[source] | 1 << number[source]
    drawn = {}
    for id_, sources in inputs.items():
        longer = 0
        for source in sources:
            longer |= above[source]
        drawn[id_] = [source for source in sources if not longer >> number[source] & 1]
    return drawn


def drawing(graph: Graph) -> Html:
    """The graph in a place of fixed size; each output is a link to its own anchor, `lineage.js` draws the lines.

    Built for thousands of outputs: boxes are plain HTML (browsers lay it out faster than SVG text), stacked in tiles
    that cost a browser nothing while they are out of view, and all lines are one path.
    """
    columns: dict[int, list[Vertex]] = defaultdict(list)
    for vertex in sorted(graph.vertices.values(), key=lambda vertex: (vertex.layer, vertex.row)):
        columns[vertex.layer].append(vertex)
    tallest = max(map(len, columns.values()))
    places: dict[str, tuple[int, int]] = {}
    tiles: list[Content] = []
    for layer, column in columns.items():
        above = (tallest - len(column)) * _STEP // 2  # a short column stands in the middle
        for first in range(0, len(column), _TILE):
            left, top, tile = layer * (_WIDTH + _GAP_X), above + first * _STEP, column[first : first + _TILE]
            places |= {vertex.id: (left, top + place * _STEP) for place, vertex in enumerate(tile)}
            tiles.append(_tile(tile, left, top))
    number = {id_: place for place, id_ in enumerate(places)}
    edges = [(number[source], number[id_]) for id_, sources in essential(graph.inputs).items() for source in sources]
    width, height = len(columns) * (_WIDTH + _GAP_X) - _GAP_X, tallest * _STEP
    paths = join([element("path", "", "all"), element("path", "", "on")])
    lines = json_block({"box": (_WIDTH, _HEIGHT), "places": list(places.values()), "edges": edges}, "lines")
    parts: list[Content] = [element("svg", paths, width=str(width), height=str(height)), *tiles, lines]
    return element("div", join(parts), "map", style=f"width:{width}px;height:{height}px")


def _tile(vertices: Sequence[Vertex], left: int, top: int) -> Html:
    boxes = [
        element(
            "a",
            join([element("b", vertex.title), vertex.subtitle]),
            f"node {vertex.kind}",
            id=vertex.id,
            href=f"#{vertex.id}",
            title=f"{vertex.title} {vertex.subtitle}",
        )
        for vertex in vertices
    ]
    place = f"left:{left}px;top:{top}px;width:{_WIDTH}px;height:{len(vertices) * _STEP}px"
    return element("div", join(boxes), "tile", style=place)
