"""All pairs of given embeddings, as counting them one by one finds them; what is no embedding is named."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmada.curation import semantic_duplicates as module
from mmada.curation.semantic_duplicates import SemanticDuplicates, semantic_duplicates
from mmada.errors import InputError, ParamsError
from mmada.unit_store import UnitStore

FLOOR = 0.9


def _rows(count: int) -> pl.DataFrame:
    return pl.DataFrame({"row_id": [f"r{n:05d}" for n in range(count)], "task": ["chat", "lm"] * (count // 2)})


def _clustered(count: int, dimensions: int) -> np.ndarray:
    """Vectors of any length around a tenth as many centres, some of them twice."""
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((count // 10, dimensions))
    vectors = centres[rng.integers(len(centres), size=count)] + rng.uniform(0, 0.6, (count, 1)) * rng.standard_normal(
        (count, dimensions)
    )
    vectors *= rng.uniform(0.1, 10, (count, 1))
    vectors[2::40] = vectors[::40]
    return vectors.astype(np.float32)


def _find(folder: Path, rows: pl.DataFrame, vectors: np.ndarray, floor: float = FLOOR) -> SemanticDuplicates:
    table = pl.DataFrame({"row_id": rows["row_id"], "embedding": vectors.tolist()})
    table.write_parquet(folder / "embeddings.parquet")
    return semantic_duplicates(folder / "embeddings.parquet", rows, floor=floor, store=UnitStore(folder / "units"))


def test_equals_brute_force_in_any_order(tmp_path: Path) -> None:
    rows, vectors = _rows(1400), _clustered(1400, 48)
    found = _find(tmp_path, rows, vectors)
    names, keys = found.keys["row_id"], found.keys["semantic_key"]
    assert names.to_list() == rows["row_id"].to_list()
    wide = vectors.astype(np.float64)
    exact = (wide @ wide.T) / np.outer(np.linalg.norm(wide, axis=1), np.linalg.norm(wide, axis=1))
    same_task = np.equal.outer(np.arange(1400) % 2, np.arange(1400) % 2)
    left, right = np.nonzero(np.triu((exact >= FLOOR) & same_task, 1))
    expected = {tuple(sorted((keys[int(a)], keys[int(b)]))) for a, b in zip(left, right, strict=True)}
    equal = {pair for pair in expected if pair[0] == pair[1]}
    assert len(equal) > 10
    assert {pair[:2] for pair in found.pairs.rows()} == expected - equal
    assert len(expected) > 1000
    again = rows.sample(fraction=1.0, shuffle=True, seed=1)
    order = again["row_id"].str.slice(1).cast(pl.Int64).to_numpy()
    shuffled = _find(tmp_path, again, vectors[order])
    assert shuffled.keys.equals(found.keys)
    assert shuffled.pairs.equals(found.pairs)


def test_rows_without_embeddings_and_embeddings_without_rows_are_counted(tmp_path: Path) -> None:
    rows = _rows(4)
    table = pl.DataFrame({"row_id": ["r00000", "r00002", "gone"], "embedding": [[1.0, 0.0], [2.0, 0.1], [1.0, 1.0]]})
    table.write_parquet(tmp_path / "e.parquet")
    found = semantic_duplicates(tmp_path / "e.parquet", rows, floor=FLOOR, store=UnitStore(tmp_path))
    assert found.keys["row_id"].to_list() == ["r00000", "r00002"]
    assert found.pairs["similarity"].to_list() == [pytest.approx(2 / np.hypot(2, 0.1))]
    assert found.num_unknown == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"row_id": ["a"]}, "is not a parquet file with the columns row_id"),
        ({"row_id": ["a"], "embedding": ["text"]}, "is not a parquet file with the columns row_id"),
        ({"row_id": ["a", "b"], "embedding": [[1.0], [1.0, 2.0]]}, r"embeddings of \[1, 2\] numbers"),
        ({"row_id": ["a", "a"], "embedding": [[1.0], [2.0]]}, "two embeddings of row a"),
        ({"row_id": ["a", "b"], "embedding": [[1.0], [0.0]]}, "of row b has no direction"),
        ({"row_id": ["a", "b"], "embedding": [[1.0], [float("nan")]]}, "of row b has no direction"),
        ({"row_id": ["a", "b"], "embedding": [[1.0], [None]]}, "of row b has no direction"),
    ],
)
def test_what_is_no_embedding_is_named(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "e.parquet")
    with pytest.raises(InputError, match=message):
        semantic_duplicates(tmp_path / "e.parquet", _rows(2), floor=FLOOR, store=UnitStore(tmp_path))
    with pytest.raises(InputError, match="does not exist"):
        semantic_duplicates(tmp_path / "none.parquet", _rows(2), floor=FLOOR, store=UnitStore(tmp_path))


def test_a_floor_that_pairs_everything_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PAIRS", 1000)
    with pytest.raises(ParamsError, match=r"annotation\.semantic_floor 0\.0"):
        _find(tmp_path, _rows(200), _clustered(200, 8), floor=0.0)
