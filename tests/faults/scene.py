"""All that faults act on: the world, the endpoint and its weather, the server and the way to it, the workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from etl import database
from etl.demo.endpoint import Endpoint
from faults import server, workers
from faults.estate import Estate
from faults.proxy import Proxy
from faults.server import Server
from faults.weather import Weather
from faults.workers import Workers

_MEMBERSHIPS = 3
_MOST_JOBS = 160  # in the biggest membership
_LATENCY = 0.03  # seconds: long enough for a listing to be split
_PAGE = 10
_GRACES = ("0s", "3s")
_ROLE = "arn:aws:iam::{}:role/etl-reader"


@dataclass
class Scene:
    """Where it happens."""

    estate: Estate
    endpoint: Endpoint
    weather: Weather
    server: Server
    proxy: Proxy
    workers: Workers
    grace: str
    """For which a job must be missing, at least, to be gone."""
    deadline: float = 6.0
    """Seconds for which the product waits for AWS."""
    full_every: str = "10s"
    left_out: set[str] = field(default_factory=set)
    """Memberships that are not configured now."""

    def list_in_full_every(self, duration: str) -> None:
        """Write the configuration with another pause between full listings; 0s: all are."""
        self.full_every = duration
        self.configure()

    def await_absence_for(self, duration: str) -> None:
        """Write the configuration with another grace."""
        self.grace = duration
        self.configure()

    def configure(self) -> None:
        """Write the configuration as it should be now."""
        now = database.parse(self.server.url()).password
        way = database.parse(self.proxy.url).set(password=now).render_as_string(hide_password=False)
        self.workers.configure(
            {
                "database": {"url": way},
                "aws": {
                    "endpoint_url": self.endpoint.url,
                    "page_size": _PAGE,
                    "max_concurrency": 4,
                    "requests_per_second": 200,
                },
                "sync": {
                    "absence_grace": self.grace,
                    "full_every": self.full_every,
                    "lease": "4s",
                    "deadline": f"{self.deadline:.0f}s",
                },
                "schedule": {"every": "1s"},
            },
            [
                {
                    "id": each.id,
                    "region": each.region,
                    **({"role_arn": _ROLE.format(each.account)} if number else {}),
                }
                for number, each in enumerate(self.estate.memberships)
                if each.id not in self.left_out
            ],
        )


@contextmanager
def opened(random: Random) -> Iterator[Scene]:
    """Yield a scene where nothing is broken yet, with two daemons at work."""
    estate = Estate(random, _MEMBERSHIPS, _MOST_JOBS)
    with (
        TemporaryDirectory(prefix="etl-faults-") as folder,
        server.opened() as postgres,
        Endpoint(estate.world, latency_seconds=_LATENCY) as endpoint,
        Proxy(postgres.url()) as proxy,
        workers.employed(Path(folder)) as staff,
        estate,
    ):
        for membership in estate.memberships:
            endpoint.add_role(_ROLE.format(membership.account))
        weather, grace = Weather(endpoint, estate), random.choice(_GRACES)
        scene = Scene(estate, endpoint, weather, postgres, proxy, staff, grace)
        scene.configure()
        for _ in range(2):
            staff.start_daemon()
        yield scene
