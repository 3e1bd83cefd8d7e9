"""A job without a shared disk that is killed in the middle of a change goes on to the same bytes."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

from tests.dispatch.small_job import make_inputs
from tests.services import S3Server

ROOT = Path(__file__).resolve().parents[2]


def test_kills_inside_changes_of_files_and_objects_change_no_byte(tmp_path: Path, s3_server: S3Server) -> None:
    store = s3_server.make_bucket(f"killed-{uuid.uuid4().hex[:8]}")
    make_inputs(tmp_path)
    command = [sys.executable, "-m", "tests.dispatch.killed_job", str(tmp_path), store, "6", "3"]
    environment = os.environ | dict(s3_server.variables)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]
    hit = json.loads(done.stdout)
    assert sum(hit.values()) >= 6
    assert any(name.startswith("S3Storage") for name in hit)
