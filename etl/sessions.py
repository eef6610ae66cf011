"""Sessions of botocore: where credentials are looked for, and that only the configuration says who is asked."""

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
    """Find credentials; raises `BotoCoreError`, also where botocore stumbles over what it finds."""
    try:
        found: Credentials | None = session.get_credentials()
    except BotoCoreError:
        raise
    except (OSError, AttributeError) as error:  # a file or a program that is not there, what is no JSON object
        raise CredentialRetrievalError(provider="our own", error_msg=str(error)) from None
    if found is None:
        raise NoCredentialsError
    return found


@cache
def _models(folders: str | None) -> Loader:
    """Return what all sessions read AWS's models through: each by itself would spend a tenth of a second on it."""
    return create_loader(folders)
