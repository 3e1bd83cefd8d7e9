"""The layout of lineages: left to right, nothing on top of anything, the same descent with fewer lines."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.trace import Lineage, Node
from mmada.site.lineage_graph import essential, merge
from mmada.site.lineage_page import lineage_page
from tests.site.reading_pages import Page

STAGES = ("ingest", "tokenize_images", "annotate", "select", "write_shards", "train", "train", "evaluate")


def _lineage(size: int) -> Lineage:
    """`size` outputs; each was made of three of the two stages before it."""
    rng = random.Random(size)
    layers: list[list[str]] = []
    nodes: dict[str, Node] = {}
    for layer, stage in enumerate(STAGES):
        ids = [hashlib.sha256(f"{layer} {number}".encode()).hexdigest() for number in range(size // len(STAGES))]
        earlier = [id_ for column in layers[-2:] for id_ in column]
        for number, id_ in enumerate(ids):
            inputs = {f"input {place}": one for place, one in enumerate(rng.sample(earlier, 3) if earlier else [])}
            raw = {"data/raw/file": id_} if stage == "ingest" else {}
            code = {"commit": "c" * 40, "patch": ""}
            nodes[id_] = Node(
                id_, stage, f"k{number}", 1, f"data/{stage}/{number}", {"file": id_}, inputs, raw, {}, code, "2026", {}
            )
        layers.append(ids)
    return Lineage(layers[-1][0], nodes, ProvenanceStore(Path("nowhere")))


def _above(inputs: Mapping[str, Sequence[str]], id_: str) -> set[str]:
    found: set[str] = set()
    waiting = list(inputs[id_])
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += inputs[one]
    return found


def test_inputs_lie_to_the_left_and_every_output_has_a_place_of_its_own() -> None:
    graph = merge([_lineage(160), _lineage(80)])
    for id_, inputs in graph.inputs.items():
        assert all(graph.vertices[one].layer < graph.vertices[id_].layer for one in inputs)
    places = {(vertex.layer, vertex.row) for vertex in graph.vertices.values()}
    assert len(places) == len(graph.vertices)


def test_fewer_lines_say_the_same_descent() -> None:
    inputs = merge([_lineage(160)]).inputs
    drawn = essential(inputs)
    assert sum(map(len, drawn.values())) < sum(map(len, inputs.values()))
    for id_ in inputs:
        assert set(drawn[id_]) <= set(inputs[id_])
        assert _above(drawn, id_) == _above(inputs, id_)


def test_five_thousand_outputs_stay_a_light_page() -> None:
    """What a browser must read before it shows the graph: a few elements and some 250 bytes for each output."""
    lineage = _lineage(5000)
    made = lineage_page({"data/scores/x": lineage}, {}, [], [])
    found = Page(made.html)
    num_nodes = 5000 + 5000 // len(STAGES)  # and the raw files of every ingested corpus
    assert sum("node" in attributes.get("class", "").split() for _, attributes in found.elements) == num_nodes
    assert len(found.elements) < 2.2 * num_nodes
    assert len(made.html) < 350 * num_nodes
    facts = json.loads(made.facts.removeprefix("window.described = ").removesuffix(";\n"))
    assert len(facts) == num_nodes
    assert set(facts) <= found.anchors
