"""What is added or taken away changes the shards around it, and no others."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmada.lineage.manifest import read_artifact
from mmada.shards.boundaries import cut
from mmada.shards.order import hash64
from tests.shards.made import make_sample, write_set


def _runs(keys: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(keys[run]) for run in cut(keys, size)]


@given(st.lists(st.text("abcdef", min_size=3, max_size=8), unique=True, max_size=120), st.integers(1, 12))
def test_every_sample_is_in_one_run_that_begins_at_a_local_minimum(keys: list[str], size: int) -> None:
    runs = cut(keys, size)
    assert [key for run in runs for key in keys[run]] == keys
    assert all(len(keys[run]) <= 4 * size for run in runs)
    near = size // 2
    hashes = [hash64(key) for key in keys]
    minima = {i for i, value in enumerate(hashes) if value == min(hashes[max(0, i - near) : i + near + 1])}
    assert minima <= {run.start for run in runs}


def test_shards_have_the_wanted_size_on_average() -> None:
    sizes = [len(run) for run in _runs([f"k{i}" for i in range(20_000)], 50)]
    assert 45 < sum(sizes) / len(sizes) < 55
    assert min(sizes[1:-1]) >= 25
    assert max(sizes) <= 200


@pytest.mark.parametrize("seed", range(20))
def test_a_run_of_new_samples_anywhere_changes_few_runs(seed: int) -> None:
    rng = random.Random(seed)
    keys = [f"{seed}-{i}" for i in range(10_000)]
    place = rng.choice([0, len(keys), rng.randrange(len(keys))])
    new = [f"new-{seed}-{i}" for i in range(100)]
    before, after = set(_runs(keys, 50)), _runs(keys[:place] + new + keys[place:], 50)
    changed = sum(len(run) for run in after if run not in before)
    assert changed <= 0.03 * (len(keys) + len(new))


def test_one_per_cent_more_changes_at_most_three_per_cent_of_the_bytes(tmp_path: Path) -> None:
    samples = [make_sample(number) for number in range(4000)]
    before = write_set(tmp_path / "before", samples, 20)
    after = write_set(tmp_path / "after", samples + [make_sample(number) for number in range(4000, 4040)], 20)
    new = sum(size for name, size in after.sizes.items() if after.files[name] != before.files.get(name))
    assert new <= 0.03 * sum(after.sizes.values())
    assert read_artifact(tmp_path / "after").files == after.files


@pytest.mark.parametrize("seed", range(10))
def test_without_one_file_only_the_shards_that_held_it_change(seed: int) -> None:
    rng = random.Random(seed)
    files = [[f"{seed}-{file}-{row}" for row in range(rng.randrange(1, 300))] for file in range(40)]
    gone = set(files.pop(rng.randrange(40)))
    kept = [key for file in files for key in file]
    everything = sorted([*kept, *gone], key=lambda key: [int(part) for part in key.split("-")])
    before, after = _runs(everything, 30), set(_runs(kept, 30))
    held = [index for index, run in enumerate(before) if gone & set(run)]
    touched = [index for index, run in enumerate(before) if run not in after]
    assert set(held) <= set(touched)
    assert len(set(touched) - set(held)) <= 2, "a boundary may move within half a shard of what went"
