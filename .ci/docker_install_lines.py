"""Run the `RUN pip` lines of every Dockerfile in a clean environment, and parse the compose file.

There is no container engine in CI; this shows that each image's installation resolves, imports, and stays in its role.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = {
    "data": "mmada.cli, great_expectations, dvc, prefect",
    "train": "mmada.cli, great_expectations, torch, transformers, plotly, dvc, prefect",
}
MUST_BE_ABSENT = {"data": ["torch"], "train": ["torchvision"]}


def main() -> None:
    """Check every Dockerfile and the compose file; any failure ends with a non-zero exit code."""
    dockerfiles = sorted((ROOT / "docker").glob("*.Dockerfile"))
    with ThreadPoolExecutor(len(dockerfiles)) as pool:  # pip mostly waits
        list(pool.map(_check_image, dockerfiles))
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        assert "image" in service or "build" in service, f"compose service {name} has neither image nor build"
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file(), f"compose service {name}: no such Dockerfile"
        for other in service.get("depends_on", []):
            assert other in compose["services"], f"compose service {name} depends on unknown {other}"


def _check_image(dockerfile: Path) -> None:
    role = dockerfile.stem
    text = dockerfile.read_text()
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app"
        app.mkdir()
        for sources, target in re.findall(r"^COPY (.+) (\S+)$", text, re.MULTILINE):
            for source in sources.split():
                path = ROOT / source
                copy = shutil.copytree if path.is_dir() else shutil.copy
                copy(path, app / target / path.name if path.is_file() else app / target)
        venv.create(Path(folder) / "venv", with_pip=True)
        python = Path(folder) / "venv" / "bin" / "python"
        environment = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
        environment["PIP_NO_COMPILE"] = "1"  # it is imported once and thrown away
        for line in re.findall(r"^RUN (pip .+)$", text, re.MULTILINE):
            subprocess.run(["bash", "-ceu", line], cwd=app, env=environment, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([python, "-c", f"import {IMPORTS[role]}"], cwd=folder, env=environment, check=True)
        for module in MUST_BE_ABSENT[role]:
            found = subprocess.run([python, "-c", f"import {module}"], cwd=folder, env=environment, capture_output=True)
            assert found.returncode != 0, f"{dockerfile.name} installs {module}, which its role must not need"
        sys.stdout.write(f"{dockerfile.name}: installs, imports, and holds nothing that its role forbids\n")


if __name__ == "__main__":
    main()
