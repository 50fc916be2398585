"""Which versions are in memory: loaded on first use, swapped under way, let go when unused."""

import asyncio
import os
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from posneg.service import repository
from posneg.service.errors import Unavailable
from posneg.service.serving.statistics import Statistics
from posneg.service.settings import Settings

if TYPE_CHECKING:
    from posneg.service.serving.loaded import Loaded

log = structlog.get_logger(__name__)
Key = tuple[str, int]
SETTLED_S = 1.0  # clocks of file systems are coarse: a folder changed just now may change again unseen


@dataclass(frozen=True, slots=True)
class State:
    """Of one version, in the protocol's words; empty where it lies in the folder and was never asked for."""

    name: str
    version: int
    state: str
    reason: str = ""


class Loader:
    """The versions in memory; lives on one event loop.

    A version that is let go or replaced ends when the requests that hold it do: there is nothing to close.
    A version that does not load is not tried again until its files change or a caller asks to load it;
    meanwhile the one before it serves whoever names none.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.models_folder
        self._loaded: OrderedDict[Key, tuple[object, Loaded]] = OrderedDict()
        self._loading: dict[Key, asyncio.Task[Loaded]] = {}
        self._faults: dict[Key, tuple[object, Unavailable]] = {}
        self._unloaded: set[str] = set()
        self._listed: dict[str, tuple[float, list[int]]] = {}
        self._statistics: dict[Key, Statistics] = {}
        self._threads = ThreadPoolExecutor(thread_name_prefix="load", max_workers=2)
        self._runs: ThreadPoolExecutor | None = None

    async def get(self, name: str, version: int | None = None) -> "Loaded":
        """A version ready to answer; without a number the highest that loads."""
        known = self._versions(name)
        if version is not None:
            known = [version] if version in known else []
        if not known:
            repository.read(self._folder, name, version)  # raises, and says what there is
        if name in self._unloaded:
            raise Unavailable(f"model {name!r} was unloaded; POST /v2/repository/models/{name}/load loads it")
        fault = None
        for candidate in reversed(known):
            try:
                return await self._ready(name, candidate)
            except Unavailable as error:
                fault = fault or error
        raise fault or Unavailable(f"model {name!r} has just been removed")

    def _versions(self, name: str) -> list[int]:
        """As the folder has them; read again only once it has changed."""
        try:
            modified_s = os.stat(f"{self._folder}/{name}").st_mtime
        except FileNotFoundError:
            return []
        held = self._listed.get(name)
        if held is not None and held[0] == modified_s:
            return held[1]
        listed = repository.versions(self._folder, name)
        if time.time() - modified_s > SETTLED_S:
            self._listed[name] = (modified_s, listed)
        return listed

    async def _ready(self, name: str, version: int) -> "Loaded":
        key, stamp = (name, version), repository.stamp(self._folder, name, version)
        held = self._loaded.get(key)
        if held is not None and held[0] == stamp:
            self._loaded.move_to_end(key)
            return held[1]
        broken = self._faults.get(key)
        if broken is not None and broken[0] == stamp:
            raise broken[1]
        if key not in self._loading:
            self._loading[key] = asyncio.create_task(self._load(key, stamp))
        # Shielded: others may wait for the same load, whatever becomes of the first who asked.
        return await asyncio.shield(self._loading[key])

    async def _load(self, key: Key, stamp: object) -> "Loaded":
        try:
            loaded = await asyncio.get_running_loop().run_in_executor(self._threads, self._load_now, key)
        except Unavailable as error:
            self._faults[key] = (stamp, error)
            log.warning("model does not load", model=key[0], version=key[1], reason=error.detail)
            raise
        finally:
            del self._loading[key]
        self._faults.pop(key, None)
        self._loaded[key] = (stamp, loaded)
        while len(self._loaded) > self._settings.max_loaded_models:
            self._loaded.popitem(last=False)
        log.info("model loaded", model=key[0], version=key[1], provider=loaded.provider)
        return loaded

    def _load_now(self, key: Key) -> "Loaded":
        """In a thread, and with ONNX Runtime imported only here: a start without models needs none of it."""
        from posneg.service.serving.loaded import load, runs_at_once

        if self._runs is None:
            self._runs = ThreadPoolExecutor(runs_at_once(self._settings), thread_name_prefix="run")
        found = repository.read(self._folder, *key)
        return load(found, self._settings, self._runs, self.statistics(*key))

    def statistics(self, name: str, version: int) -> Statistics:
        """The counters of a version; they outlive its stay in memory."""
        return self._statistics.setdefault((name, version), Statistics(name))

    async def load(self, name: str, version: int | None = None) -> "Loaded":
        """What `get` does, and also for what was unloaded or has failed before."""
        self._unloaded.discard(name)
        self._faults = {key: fault for key, fault in self._faults.items() if key[0] != name}
        return await self.get(name, version)

    def unload(self, name: str) -> None:
        """Serve no version of `name` until it is loaded again; requests under way end as they would."""
        repository.read(self._folder, name)
        self._unloaded.add(name)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Let go of every version of a model, as after its deletion."""
        for key in [key for key in self._loaded if key[0] == name]:
            del self._loaded[key]

    def forget_all_about(self, name: str) -> None:
        """As if there had never been such a model; the next of that name begins anew."""
        self.forget(name)
        self._unloaded.discard(name)
        for key in [key for key in self._statistics if key[0] == name]:
            del self._statistics[key]

    def states(self) -> list[State]:
        """Every version in the folder."""
        return [
            self._state(name, version)
            for name in repository.names(self._folder)
            for version in repository.versions(self._folder, name)
        ]

    def _state(self, name: str, version: int) -> State:
        key = (name, version)
        if name in self._unloaded:
            return State(name, version, "UNAVAILABLE", "unloaded")
        if key in self._loaded:
            return State(name, version, "READY")
        if key in self._loading:
            return State(name, version, "LOADING")
        if key in self._faults:
            return State(name, version, "UNAVAILABLE", self._faults[key][1].detail)
        return State(name, version, "")

    async def close(self) -> None:
        """Wait for what is loading and running."""
        for task in list(self._loading.values()):
            await asyncio.wait([task])
        self._threads.shutdown()
        if self._runs is not None:
            self._runs.shutdown()
