"""What stage 3 sampled can be read, published as a corpus, and curated again with its lineage."""

import json
import shutil
from pathlib import Path

from mmada.contracts.ingested import read_records
from mmada.lineage.manifest import read_artifact
from tests.e2e.project_folder import run

PATCH = """
corpora:
  sampled:
    path: data/raw/rollouts
    format: jsonl
    task: chat
    files: chat.jsonl
    columns: {prompt: prompt, response: response, reference: reference}
    source: rollouts of stage3
    licence: CC0-1.0
"""


def test_rollouts_are_shown_and_re_enter_curation_with_their_lineage(finished: Path, tmp_path: Path) -> None:
    project = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    model = read_artifact(project / "data/models/stage3")
    groups = json.loads(run(project, "mmada", "rollouts", "stage3", "--json").stdout)
    assert {len(group) for group in groups} == {2}, "answers to a prompt"
    assert {answer["iteration"] for group in groups for answer in group} == {1}, "the last of two"
    assert "reward" in run(project, "mmada", "rollouts", "stage3", "--iteration", "0").stdout
    for said, *words in (
        ("trained by masked_prediction, which samples no answers", "stage2"),
        ("made by init_model, which samples no answers", "init"),
        ("name their folder by --publish", "stage3", "--min-reward", "1"),
        ("leave --iteration", "stage3", "--publish", "data/raw/rollouts", "--iteration", "0"),
        (
            "no answer of data/models/stage3 is worth 9.0",
            "stage3",
            "--publish",
            "data/raw/rollouts",
            "--min-reward",
            "9",
        ),
    ):
        refused = run(project, "mmada", "rollouts", *words, check=False)
        assert refused.returncode == 2
        assert said in " ".join(refused.stdout.split())
    assert not list((project / "data/raw").glob("*rollouts*"))

    corpus = project / "data/raw/rollouts"
    for folder in (corpus, corpus.with_name("again")):
        run(project, "mmada", "rollouts", "stage3", "--publish", str(folder.relative_to(project)))
    assert read_artifact(corpus).id == read_artifact(corpus.with_name("again")).id
    assert read_artifact(corpus).metadata["model"] == model.id
    published = [json.loads(line) for path in corpus.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert len(published) == 2 * 4 * 2, "two iterations of four prompts with two answers each"
    assert all((corpus / row["image"]).is_file() for row in published if "image" in row)

    patch = project / "patch.yaml"
    patch.write_text(PATCH)
    run(project, "mmada", "patch", "patch.yaml")
    run(project, "mmada", "run", "ingest@sampled")
    records = read_records(project / "data/ingested/sampled", "sampled")
    answers = [row["response"] for row in published if row["iteration"] is not None and "image" not in row]
    assert set(records["response"]) <= set(answers)
    tree = json.loads(run(project, "mmada", "trace", "data/ingested/sampled", "--json").stdout)
    assert model.id in json.dumps(tree), "the rows lead to the model whose training sampled them"
    # Tests that share the project leave findings of their own in it.
    found = run(project, "mmada", "verify", "data/ingested/sampled", check=False).stdout
    assert " files of " in found
    assert "rollouts" not in found.replace("sampled was made from", "")
    (corpus / "chat.jsonl").write_text("{}")
    assert (
        "data/raw/rollouts/chat.jsonl" in run(project, "mmada", "verify", "data/ingested/sampled", check=False).stdout
    )
