"""A training job of a few seconds, with everything that it reads."""

from pathlib import Path

from mmada.lineage.manifest import Artifact, read_artifact, write_manifest
from mmada.model.weights import save_model
from mmada.params_schema import load_params
from mmada.text_tokenizer import copy_tokenizer, load_tokenizer, train_tokenizer
from mmada.training.job import Job
from mmada.training.publication import Publication
from mmada.training.retention import Retention
from tests.shards.made import write_set
from tests.tiny import TEXTS, sample, tiny_model, tiny_vocab

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def make_inputs(folder: Path) -> dict[str, Artifact]:
    """Shards of a few samples without pictures, the parent of a tiny model, and what stands for a picture tokenizer."""
    train_tokenizer(TEXTS * 20, folder / "tokenizer", vocab_size=320)
    vocab = tiny_vocab(load_tokenizer(folder / "tokenizer"))
    for name in ("parent", "magvit"):
        (folder / name).mkdir()
    save_model(tiny_model(vocab), vocab, folder / "parent")
    copy_tokenizer(folder / "tokenizer", folder / "parent")
    (folder / "magvit/weights").write_bytes(b"none are needed")
    samples = [sample(f"{number:032x}-lm-0", "lm", response=TEXTS[number % 3] * 2) for number in range(40)]
    return {
        "shards": write_set(folder / "shards", samples, 10),
        "parent": write_manifest(folder / "parent", stage="init_model", version=1, metadata={}),
        "magvit": write_manifest(folder / "magvit", stage="train_magvit", version=1, metadata={}),
    }


def read_inputs(folder: Path) -> dict[str, Artifact]:
    """What `make_inputs` made there."""
    return {name: read_artifact(folder / name) for name in ("shards", "parent", "magvit")}


def make_job(inputs: dict[str, Artifact], folder: Path, *, steps: int) -> Job:
    """A job that puts what it makes below `folder`. It saves after every step, and publishes once on the way."""
    block = load_params(PARAMS).training["stage1"].model_dump(mode="json")
    block |= {"max_steps": steps, "checkpoint_every": 1, "publish_every": steps // 2 + 1, "threads": 1}
    block["masked_prediction"]["batch_size"] = 8
    block |= {"grad_accumulation": 1, "data": {"corpora": {"corpus": 1.0}, "direct_answers": []}}
    return Job(
        name="stage1",
        run=f"run-of-{steps}-steps",
        shards=inputs["shards"].path.as_posix(),
        parent=inputs["parent"].path.as_posix(),
        magvit=inputs["magvit"].path.as_posix(),
        out=(folder / "model").as_posix(),
        state_dir=(folder / "states").as_posix(),
        curves=(folder / "curves.jsonl").as_posix(),
        block=block,
        publication=Publication(
            folder=(folder / "checkpoints").as_posix(),
            every=block["publish_every"],
            retention=Retention(0, 0, 0),
            ledger=(folder / "published.json").as_posix(),
            provenance=(folder / "provenance").as_posix(),
            key="stage1",
            version=1,
            inputs={name: (artifact.id, artifact.path.as_posix()) for name, artifact in inputs.items()},
            raw_files={},
            params={},
            metadata={},
        ),
    )
