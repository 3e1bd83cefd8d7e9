"""The outputs of all lineages as one graph in layers: raw files on the left, scores on the right.

Shown as SVG in the page itself; `lineage.js` only marks what a selected output comes from and leads to.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mmada.lineage.trace import Lineage, Node
from mmada.site.html import Content, Html, element, join

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 126, 40, 22, 12
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

    @property
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


def svg(graph: Graph) -> Html:
    """The graph as a drawing of fixed size; each output is a link to its own anchor."""
    step = _HEIGHT + _GAP_Y
    heights: dict[int, int] = defaultdict(int)
    for vertex in graph.vertices.values():
        heights[vertex.layer] = max(heights[vertex.layer], vertex.row + 1)
    tallest = max(heights.values())

    def place(vertex: Vertex) -> tuple[int, int]:
        """Upper left corner; a short column stands in the middle of the drawing."""
        down = vertex.row + (tallest - heights[vertex.layer]) / 2
        return vertex.layer * (_WIDTH + _GAP_X) + 4, round(down * step) + 4

    places = {id_: place(vertex) for id_, vertex in graph.vertices.items()}
    numbers = {id_: str(number) for number, id_ in enumerate(graph.vertices)}
    edges = [
        element("path", "", d=_curve(places[source], places[id_]), data_from=numbers[source], data_to=numbers[id_])
        for id_, sources in essential(graph.inputs).items()
        for source in sources
    ]
    nodes = [_box(vertex, places[id_]) for id_, vertex in graph.vertices.items()]
    width, height = (max(heights) + 1) * (_WIDTH + _GAP_X) - _GAP_X + 8, tallest * step - _GAP_Y + 8
    parts: list[Content] = [element("g", join(edges), "edges"), element("g", join(nodes), "nodes")]
    return element("svg", join(parts), "graph", viewBox=f"0 0 {width} {height}", width=str(width), height=str(height))


def _curve(source: tuple[int, int], target: tuple[int, int]) -> str:
    x1, y1 = source[0] + _WIDTH, source[1] + _HEIGHT // 2
    x2, y2 = target[0], target[1] + _HEIGHT // 2
    bend = max(_GAP_X, (x2 - x1) // 2)
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"


def _box(vertex: Vertex, place: tuple[int, int]) -> Html:
    inner = [
        element("rect", "", width=str(_WIDTH), height=str(_HEIGHT), rx="7"),
        element("text", vertex.title, x="10", y="17"),
        element("text", _short(vertex.subtitle), "key", x="10", y="31"),
        element("title", f"{vertex.title} {vertex.subtitle}"),
    ]
    css = f"node {vertex.kind}"
    return element(
        "a", join(inner), css, id=vertex.id, href=f"#{vertex.id}", transform=f"translate({place[0]},{place[1]})"
    )


def _short(subtitle: str) -> str:
    return subtitle if len(subtitle) <= 17 else f"{subtitle[:16]}~"
