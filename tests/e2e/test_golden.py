"""Equal input gives equal bytes: outputs of the data stages on a small input, by id.

A changed id with an unchanged VERSION is a defect; with a new VERSION the golden file is to be written again
(MMADA_UPDATE_GOLDEN=1) and reviewed. Stages of floating-point arithmetic are held by the parity fixtures instead,
because their bytes depend on the processor.
"""

import importlib
import json
import os
from pathlib import Path

from mmada.lineage.manifest import read_artifact

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "stage_outputs.json"
OUTPUTS = {
    "make_demo_corpus": "data/raw/demo",
    "ingest": "data/ingested/questions",
    "benchmark_items": "data/benchmark_items/scene_questions",
    "fit_text_tokenizer": "data/text_tokenizer",
}


def test_equal_input_gives_the_bytes_of_the_golden_file(finished: Path) -> None:
    found = {
        stage: {
            "version": importlib.import_module(f"mmada.stages.{stage}").VERSION,
            "id": read_artifact(finished / folder).id,
        }
        for stage, folder in OUTPUTS.items()
    }
    if os.environ.get("MMADA_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    for stage, output in found.items():
        assert output == golden[stage], (
            f"{stage} makes other bytes than before: raise VERSION in mmada/stages/{stage}.py if that is meant, "
            "then write the golden file again with MMADA_UPDATE_GOLDEN=1"
        )
