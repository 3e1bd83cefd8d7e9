"""What an object store's refusal means for the user, and which variable to set.

Matched on text, because boto3 and DVC (which passes only the text on) must be explained alike.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mmada.errors import StorageError


@dataclass(frozen=True)
class Refusal:
    """A kind of failure: how its text is recognised, what to do, and whether trying again may help."""

    pattern: str
    advice: str
    transient: bool = False


_REFUSALS: Final = (
    Refusal(
        "Unable to locate credentials|Partial credentials|NoCredentials",
        "there are no complete credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    Refusal(
        "config profile .* could not be found",
        "AWS_PROFILE names a profile that is not in ~/.aws: correct it, or set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY",
    ),
    Refusal("InvalidAccessKeyId", "the store does not know this key: correct AWS_ACCESS_KEY_ID (or AWS_PROFILE)"),
    Refusal(
        "SignatureDoesNotMatch",
        "the secret is not that of the key: correct AWS_SECRET_ACCESS_KEY, or AWS_ACCESS_KEY_ID if that is wrong",
    ),
    Refusal("ExpiredToken|InvalidToken", "the session has ended: renew AWS_SESSION_TOKEN with its key and secret"),
    Refusal(
        "NoSuchBucket|bucket does not exist", "the bucket does not exist: create it, or correct its name in the URL"
    ),
    Refusal(
        "AccessDenied|Forbidden",
        "the store refuses: correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or let this key read "
        "and write the bucket",
    ),
    Refusal("Invalid endpoint", "AWS_ENDPOINT_URL is no address: write it as http://host:port"),
    Refusal(
        "Could not connect to the endpoint|onnect timeout|Connection was closed|Connection reset|Read timeout",
        "the store does not answer: start it, or correct AWS_ENDPOINT_URL (of a DVC remote: its endpointurl)",
        transient=True,
    ),
    Refusal(
        "SlowDown|ServiceUnavailable|InternalError|RequestTimeout",
        "the store is overloaded or failing: run again later, nothing that was written is lost",
        transient=True,
    ),
)


def find_refusal(text: str) -> Refusal | None:
    """The kind of failure that an error text of boto3 or DVC tells of; None when it is no known one."""
    return next((refusal for refusal in _REFUSALS if re.search(refusal.pattern, text)), None)


def redact(text: str, environment: Mapping[str, str]) -> str:
    """`text` without the values of secret AWS_* variables and without passwords inside URLs."""
    for name, value in environment.items():
        if name.startswith("AWS_") and any(part in name for part in ("KEY", "SECRET", "TOKEN")) and value:
            text = text.replace(value, f"<{name}>")
    return re.sub(r"://[^/@\s]+@", "://***@", text)


@contextmanager
def explain_s3_errors(url: str, endpoint: str) -> Iterator[None]:
    """Turn failures of boto3 at `url` into a StorageError that says what to do; the text holds no secret."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError, ValueError) as error:
        refusal = find_refusal(f"{type(error).__name__}: {error}")
        if refusal is None and isinstance(error, ValueError):
            raise
        said = f"{refusal.advice} ({_code(error)})" if refusal else f"{error}; mend that and run again"
        transient = refusal is not None and refusal.transient
        raise StorageError(f"{url} at {endpoint}: {said}", transient=transient) from error


def _code(error: Exception) -> str:
    """The store's own code of an error, or the name of its class."""
    response: Mapping[str, Mapping[str, str]] = getattr(error, "response", {})
    return response.get("Error", {}).get("Code", type(error).__name__)
