"""kill -9 inside every phase of UniGRPO (many more with `python -m tests.chaos --unigrpo`)."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_kills_in_every_phase_lose_nothing_and_end_with_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.killed_unigrpo", str(tmp_path / "runs"), "--kills", "8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for phase in ("rollout", "reward call", "reward", "update"):
        assert re.search(rf"[1-9]\d* at a {phase}[,)]", done.stdout), done.stdout
