"""Sessions of botocore: where credentials are looked for, and that only the configuration says who is asked."""

from functools import cache

import botocore.session
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


@cache
def _models(folders: str | None) -> Loader:
    """Return what all sessions read AWS's models through: each by itself would spend a tenth of a second on it."""
    return create_loader(folders)
