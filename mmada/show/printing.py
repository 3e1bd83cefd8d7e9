"""Rows and pictures as text for people and as JSON for programs; text of a corpus cannot command the terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mmada.show.known_pictures import Picture, ShownPicture
from mmada.show.known_rows import Row

_WIDTH: Final = 18


def plain(text: str) -> str:
    """`text` with all that is not printed (escapes, carriage returns, marks that reverse its direction) as its code;
    line breaks stay.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def as_json(shown: object) -> str:
    """JSON in ASCII."""
    return json.dumps(shown, indent=1, ensure_ascii=True)


def row_json(row: Row) -> dict[str, Any]:
    """All of a row."""
    return {**vars(row), "picture": None if row.picture is None else _picture_json(row.picture)}


def shown_picture_json(shown: ShownPicture, *, with_codes: bool) -> dict[str, Any]:
    """All of a picture but its bytes; its codes only if asked for (null before tokenization)."""
    grid = None if shown.picture.grid is None else shown.picture.grid.tolist()
    return {**vars(shown), "picture": _picture_json(shown.picture) | ({"grid": grid} if with_codes else {})}


def _picture_json(picture: Picture) -> dict[str, Any]:
    size = None if picture.grid is None else picture.grid.shape
    return {"image_sha256": picture.image_sha256, **picture.facts, "grid_size": size, "codes": picture.codes}


def row_lines(row: Row) -> Iterator[str]:
    """A row as text."""
    yield f"row {row.row_id}" if row.row_id else "a row that ingest could not read"
    yield from _fields(row.record)
    yield "origins"
    for origin in row.origins:
        file = f"file {origin['file_sha256'][:12]}"
        yield f"  {_place(origin)}  {file}  {plain(str(origin['fate']))}"
    for title, some in (("remarks", row.remarks), ("shards", [_shard(one) for one in row.shards])):
        if some:
            yield title
            yield from (f"  {plain(one)}" for one in some)
    if row.picture is not None:
        yield from picture_lines(row.picture)
    if row.facts:
        yield "facts"
        yield from _fields(row.facts)
    if row.not_made:
        yield f"not made yet     {', '.join(row.not_made)}: run `dvc repro`"


def shown_picture_lines(shown: ShownPicture) -> Iterator[str]:
    """A picture and the rows that show it, as text."""
    yield from picture_lines(shown.picture)
    yield f"rows that show it: {shown.num_rows:,}"
    yield from (f"  {row['row_id'][:12]}  {_place(row)}" for row in shown.first_rows)
    if shown.num_rows > len(shown.first_rows):
        yield f"  and {shown.num_rows - len(shown.first_rows):,} more"
    if shown.dropped is None:
        yield "not made yet: select"
    elif shown.dropped:
        yield "dropped by select: " + ", ".join(f"{plain(reason)} {count:,}" for reason, count in shown.dropped.items())


def picture_lines(picture: Picture) -> Iterator[str]:
    """What is known of a picture alone, as text."""
    yield f"picture {picture.image_sha256}"
    yield from _fields(picture.facts)
    if picture.codes is None or picture.grid is None:
        yield "  no codes yet: run `dvc repro tokenize_images`"
    else:
        grid = "x".join(map(str, picture.grid.shape))
        yield from _fields({"codes": f"{grid}, row {picture.codes['position']} of {picture.codes['part']}"})


def grid_lines(picture: Picture) -> Sequence[str]:
    """The codes, one row of the grid a line."""
    return [] if picture.grid is None else [" ".join(f"{code:4d}" for code in row) for row in picture.grid.tolist()]


def rollout_lines(answers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The answers to one prompt, as text: what each is worth, and what it says."""
    first = answers[0]
    yield f"iteration {first['iteration']}, sample {first['sample']} of {first['corpus']}"
    yield from _fields({"prompt": first["prompt"], "reference": first["reference"]})
    for answer in answers:
        parts = ", ".join(f"{name} {value:.4g}" for name, value in answer["rewards"].items())
        yield from _fields({f"reward {answer['reward']:.4g}": f"{parts}; advantage {answer['advantage']:+.3f}"})
        yield from _fields({"": answer["response"]})


def _fields(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if value is None or value == "":
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else plain(str(value))
        yield f"  {name:{_WIDTH}s} " + shown.replace("\n", f"\n{'':{_WIDTH + 3}s}")


def _place(row: Mapping[str, Any]) -> str:
    return plain(f"{row['corpus']}/{row['source_file']}:{row['row']}").replace("\n", "\\n")


def _shard(place: Mapping[str, Any]) -> str:
    return f"{place['stage']}/{place['shard']}, {place['length']} bytes from {place['offset']}, key {place['key']}"
