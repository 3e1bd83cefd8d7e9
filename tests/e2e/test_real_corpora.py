"""The same pipeline on real photographs, captions, mathematics and picture questions, small."""

import json
import shutil
from pathlib import Path

import yaml

from tests.e2e.project_folder import ROOT, make_project, run

# One thread, because tests run side by side, fewer rows, small batches; all else is what docs/your_own_corpus.md does.
ITEMS = 16
SMALL = {
    "corpora": {"easy_vqa": {"max_rows": 1200}, "gsm8k": {"max_rows": 1500}},
    "benchmarks": {"gsm8k_heldout": {"max_items": ITEMS}, "easy_vqa_heldout": {"max_items": ITEMS}},
    "gate": {"min_rows": 1500},
    "vq": {"threads": 1, "steps": 24, "batch_size": 4},
    "training": {
        "stage1": {"threads": 1, "max_steps": 24, "masked_prediction": {"batch_size": 3}},
        "stage2": {"threads": 1, "max_steps": 24, "masked_prediction": {"batch_size": 3}},
        "stage3": {"threads": 1},
    },
    "evaluation": {"threads": 1},
}


def test_real_corpora_go_the_whole_road(realdata: Path, tmp_path: Path) -> None:
    patch = tmp_path / "small.yaml"
    patch.write_text(yaml.safe_dump(SMALL))
    project = make_project(tmp_path / "project", ROOT / "docs" / "params" / "real_corpora.yaml", patch)
    shutil.copytree(realdata, project / "data" / "raw" / "real")
    # Two workers, as on two cores. The other evaluations would do the same once more.
    run(project, "dvc", "repro", "evaluate@stage3", MMADA_WORKERS="2")

    for address in ("ingest@coco", "ingest@gsm8k", "ingest@r1_math", "ingest@nlvr", "ingest@easy_vqa", "select"):
        report = json.loads((project / "reports" / f"{address}.json").read_text())
        assert report["rows_in"] == report["rows_kept"] + sum(report["dropped"].values())
        assert report["rows_kept"] > 0
    dropped = json.loads((project / "reports" / "select.json").read_text())["dropped"]
    certificate = json.loads((project / "data/facts/certificate.json").read_text())
    every_item = {"gsm8k_heldout": ITEMS, "easy_vqa_heldout": ITEMS}
    assert certificate["items"] == every_item, "every held-out item is searched for"
    assert dropped["row_too_long"] > 0, "R1 traces are longer than the window of this small model"
    scores = json.loads((project / "data/scores/stage3/scores.json").read_text())["benchmarks"]
    assert {name: score["n"] for name, score in scores.items()} == every_item
    traced = run(project, "mmada", "trace", "data/models/stage3").stdout
    assert "ingest@coco" in traced
    assert " 0 findings" in run(project, "mmada", "verify", "data/models/stage3").stdout
