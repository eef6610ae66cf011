"""Sessions of botocore: where credentials are looked for, and that only the configuration says who is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import botocore.session
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, CredentialRetrievalError, NoCredentialsError
from botocore.loaders import Loader, create_loader
from botocore.session import Session


def new_session(region: str) -> Session:
    """Return a session that asks in this Region where nobody says otherwise, as for the role of a profile.

    `AWS_ENDPOINT_URL` and its like send none of its signed requests elsewhere, not even those by which botocore
    itself finds credentials.
    """
    session = botocore.session.get_session()
    session.set_config_variable("region", region)
    session.set_config_variable("ignore_configured_endpoint_urls", True)
    session.register_component("data_loader", _models(session.get_config_variable("data_path")))
    return session


def credentials(session: Session) -> Credentials:
    """Find credentials; raises `BotoCoreError` or `ClientError`."""
    with _readable():
        found: Credentials | None = session.get_credentials()
    if found is None:
        raise NoCredentialsError
    return found


def freeze(found: Credentials) -> None:
    """Renew credentials if need be; raises `BotoCoreError` or `ClientError`."""
    with _readable():
        found.get_frozen_credentials()


@contextmanager
def _readable() -> Iterator[None]:
    """Name what botocore stumbles over: a file or a program that is not there, an answer of another form."""
    try:
        yield
    except BotoCoreError:
        raise
    except (OSError, AttributeError, LookupError, TypeError) as error:
        raise CredentialRetrievalError(provider="our own", error_msg=str(error)) from None


@cache
def _models(folders: str | None) -> Loader:
    """Return what all sessions read AWS's models through: each by itself would spend a tenth of a second on it."""
    return create_loader(folders)
