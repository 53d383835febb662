"""Puts the web process together from settings: what is read, who is let in, what is answered."""

from dataclasses import dataclass

from starlette.routing import BaseRoute

from core.clock import Clock
from core.settings import Settings
from flight_server.keys import KeyRing
from storage.disk import OsDisk
from storage.lake import lake_of
from storage.paths import Paths
from storage.proofs import Proofs
from webui.access import Gate
from webui.api import Api
from webui.app import Acts, Health, answer_routes, explore_routes, page_routes, plain_routes
from webui.assets import load_assets
from webui.backfill import BackfillApi
from webui.drill import Drill
from webui.edge import Apology
from webui.explore import Explore
from webui.hub import Hub
from webui.journal import Journal
from webui.keys_api import KeysApi
from webui.login import Login
from webui.metrics import metrics_answer
from webui.pages import Pages
from webui.partitions import Partitions
from webui.picture import Gatherer
from webui.running_api import RunningApi
from webui.sessions import Sessions, Throttle
from webui.stream import Stream
from webui.tape import StoreTape


@dataclass(frozen=True)
class House:
    """The parts the process runs."""

    hub: Hub
    stream: Stream
    sessions: Sessions
    journal: Journal
    routes: list[BaseRoute]
    apology: Apology


def open_house(settings: Settings, clock: Clock, *, is_demo: bool = False) -> House:
    """Open everything; the store may start later."""
    paths = Paths(settings.data_dir)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    disk = OsDisk()
    is_secure = bool(settings.text("TLS_CERT"))
    ring = KeyRing(paths.keys, disk=disk, clock=clock)
    sessions = Sessions(paths.sessions, disk=disk, clock=clock)
    gate = Gate(ring, sessions, is_demo=is_demo, is_secure=is_secure)
    journal = Journal(paths.journal, clock)
    journal.note("web", "ok", "Dashboard started")
    tape = StoreTape(paths, lake_of(settings))
    hub = Hub(Gatherer(settings, tape, journal, clock), clock)
    assets = load_assets()
    pages = Pages(hub, assets)
    partitions = Partitions(hub.gatherer, Proofs(paths.proofs), journal, clock)
    drill = Drill(pages, hub.gatherer, ring, sessions, partitions)
    login = Login(gate, paths.links, Throttle(clock), journal, clock)
    keys = KeysApi(ring, sessions, hub, journal, clock)
    found = page_routes(gate, pages, drill)
    api = Api(hub)
    backfill = BackfillApi(hub.gatherer, paths, journal)
    acts = Acts(RunningApi(paths, journal), backfill, partitions)
    found += answer_routes(gate, api, keys, acts, login)
    found += explore_routes(gate, Explore(pages, api, hub.gatherer))
    found += plain_routes(
        gate, Health(paths.run, tape, clock), metrics_answer(hub.gatherer), assets
    )
    stream = Stream(hub, gate, assets.build)
    return House(hub, stream, sessions, journal, found, pages.apology)
