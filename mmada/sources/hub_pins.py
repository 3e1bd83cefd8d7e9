"""Datasets that stay on the Hugging Face hub: a small committed file says which commit of which dataset is meant."""

import json
import re
from pathlib import Path
from typing import Final

from mmada.errors import InputError, StorageError, one_line
from mmada.storage import atomic_write

SUFFIX: Final = ".hub.json"
"""What the name of such a file ends with."""

SCHEME: Final = "hf://"
_URL: Final = re.compile(rf"{SCHEME}datasets/([^/@]+/[^/@]+)(?:@(.+))?")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def pin_dataset(url: str, out: Path) -> str:
    """Write to `out` which commit hf://datasets/<owner>/<name>[@<branch, tag or commit>] means now, and return it.

    Raises InputError when the hub has no such dataset, StorageError when it cannot be reached.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    meant = _URL.fullmatch(url)
    if not meant or not out.name.endswith(SUFFIX):
        wanted = f"{SCHEME}datasets/<owner>/<name>[@<commit>] and a file <corpus>{SUFFIX}"
        raise InputError(f"mmada pin takes {wanted}, not {url} and {out}")
    name, revision = meant.groups()
    try:
        commit = HfApi().dataset_info(name, revision=revision).sha
    except (HfHubHTTPError, HFValidationError) as error:
        advice = "check the name and the revision, and HF_TOKEN where it is not public"
        raise InputError(f"{url}: {one_line(error)}; {advice}") from None
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise StorageError(f"{url}: {one_line(error)}; run again when the hub can be reached", transient=True) from None
    atomic_write(out, f"{json.dumps({'dataset': name, 'revision': commit})}\n".encode())
    return str(commit)


def read_hub_pin(path: Path) -> tuple[str, str]:
    """Name and commit of the dataset that a file of `pin_dataset` means. Raises InputError when it names none."""
    try:
        document = json.loads(path.read_bytes())
        name, revision = str(document["dataset"]), str(document["revision"])
    except FileNotFoundError:
        again = f"mmada pin {SCHEME}datasets/<owner>/<name> {path}"
        raise InputError(f"{path} does not exist; make it with `{again}`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} names no dataset ({error!r}); make it again with `mmada pin`") from None
    if not _COMMIT.fullmatch(revision):
        again = f"mmada pin {SCHEME}datasets/{name}@{revision} {path}"
        raise InputError(f"{path}: {revision!r} is no commit (40 hex digits) and may change; run `{again}`")
    return name, revision
