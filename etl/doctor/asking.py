"""One question to AWS: how long and how often it is asked, what can go wrong, and how that is told."""

from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from etl.doctor.patience import PATIENCE, SilenceError
from etl.masking import masked

# botocore's and ours, of what is no answer of AWS
_UNREADABLE = (ResponseParserError, LookupError, AttributeError)
# botocore's too: of expired credentials, of an endpoint's URL, of a file that credentials are renewed from
TROUBLE = (BotoCoreError, ClientError, SilenceError, *_UNREADABLE, RuntimeError, ValueError, OSError)
NETWORK = "look at network, DNS, proxy (HTTPS_PROXY), Region, aws.endpoint_url and aws.sts_endpoint_url"

_LIMIT = 500  # characters: a proxy that answers in AWS's place may send a whole web page


def settings(**more: Any) -> Config:
    """Return a client's settings."""
    common: dict[str, Any] = {
        "connect_timeout": PATIENCE / 2,
        "read_timeout": PATIENCE,
        "retries": {"mode": "standard", "total_max_attempts": 2},
    }
    return Config(**common, **more)


def code(error: Exception) -> str:
    """Return AWS's error code, or the name of what went wrong."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__


def line(error: Exception) -> str:
    """Return what went wrong in one line of bounded length; AWS's words may quote the request, with its token."""
    said = str(error)
    if isinstance(error, ClientError):
        said = f"{code(error)}: {error.response['Error'].get('Message', '')}"
    elif isinstance(error, _UNREADABLE):
        said = "what answers in its place (a proxy?) cannot be read"
    return " ".join(masked(said).split())[:_LIMIT]
