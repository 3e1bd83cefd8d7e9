"""UniGRPO in other processes: killed in every phase (many more with `python -m tests.chaos --unigrpo`), and in two."""

import os
import re
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

from mmada.text_tokenizer import load_tokenizer, train_tokenizer
from tests.tiny import TEXTS, tiny_model, tiny_vocab
from tests.training.jobs import ALONE
from tests.training.two_processes import run as run_job

ROOT = Path(__file__).resolve().parents[2]


def test_kills_in_every_phase_lose_nothing_and_end_with_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.killed_unigrpo", str(tmp_path / "runs"), "--kills", "8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for phase in ("rollout", "reward call", "reward", "update"):
        assert re.search(rf"[1-9]\d* at a {phase}[,)]", done.stdout), done.stdout


def test_two_processes_share_the_prompts_answer_as_one_and_end_close(tmp_path: Path) -> None:
    # Their prompts are of different tasks, so they call the sharded model differently often while they sample.
    train_tokenizer(TEXTS * 20, tmp_path / "tokenizer", vocab_size=320)
    run_job(tmp_path / "tokenizer", tmp_path / "alone", tmp_path / "one", 0.0, 4, ALONE, rl=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    folders = [str(tmp_path / name) for name in ("tokenizer", "together", "two")]
    job = ["-m", "tests.training.two_processes", *folders, "0.0", "4", "rl"]
    subprocess.run([*command, *job], check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=100)
    alone, together = (_units(tmp_path / name / "phases") for name in ("alone", "together"))
    assert alone == together, "the same answers: scores are kept under what was said"
    one, two = load_file(tmp_path / "one"), load_file(tmp_path / "two")
    start = tiny_model(tiny_vocab(load_tokenizer(tmp_path / "tokenizer"))).state_dict()
    for key in one:
        assert (one[key] - two[key]).norm() < 0.02 * (one[key] - start[key]).norm(), key


def _units(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}
