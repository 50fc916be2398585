"""The models that this process serves: what routes call. Importing it loads no torch, no ONNX Runtime."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from posneg.models.detections import Detections
from posneg.models.imaging import ImageError
from posneg.service import model_config, repository
from posneg.service.errors import Fault, InvalidRequest, Unavailable
from posneg.service.model_config import PLATFORM
from posneg.service.repository import ModelVersion, Published
from posneg.service.serving.loader import Loader
from posneg.service.serving.wishes import Wishes
from posneg.service.settings import Settings

if TYPE_CHECKING:
    from posneg.service.serving.detection import Prepared
    from posneg.service.serving.loaded import Detector, Loaded
    from posneg.service.serving.protocol import Body

T = TypeVar("T")
LARGE_JSON_BYTES = 100_000
PROBES_AT_ONCE = 2  # child processes that try files; each may take much memory
IMAGES_AT_ONCE = 16  # of one request; the rest of its images wait, so that it leaves room in the queue


@dataclass(frozen=True, slots=True)
class Image:
    """An image as it was sent, and the JSON pointer of the part that it came in."""

    data: bytes
    pointer: str
    id: str | int | None = None
    """What its sender calls it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in one image of `size` (height, width), and how long each stage took."""

    size: tuple[int, int]
    detections: Detections
    times_ns: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of one version for some images, in their order."""

    model: str
    version: int
    detector: "Detector"
    images: list[Found]


class ServedModels:
    """Predicts and infers with whatever lies in the model repository."""

    def __init__(self, settings: Settings) -> None:
        self.loader = Loader(settings)
        self._settings = settings
        self._folder = settings.models_folder
        self._images = ThreadPoolExecutor(thread_name_prefix="image")
        self._probes = asyncio.Semaphore(PROBES_AT_ONCE)
        self._preload: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to load the newest version of each model; nobody needs to wait for it."""
        await asyncio.to_thread(repository.sweep, self._settings.data)
        self._preload = asyncio.create_task(self._load_newest())

    async def _load_newest(self) -> None:
        for name in repository.names(self._folder)[: self._settings.max_loaded_models]:
            await asyncio.gather(self.loader.get(name), return_exceptions=True)  # the loader tells of faults

    async def preloaded(self) -> None:
        """Wait until the start's loading is done."""
        if self._preload is not None:
            await self._preload

    async def close(self) -> None:
        """Let what runs come to its end."""
        if self._preload is not None:
            self._preload.cancel()
        await self.loader.close()
        self._images.shutdown()

    async def predict(
        self, name: str, version: int | None, images: Sequence[Image], *, score: float, iou: float
    ) -> Prediction:
        """Detections in each image; `InvalidRequest` names every one that cannot be read."""
        loaded = await self.loader.get(name, version)
        detector = loaded.detector
        room = asyncio.Semaphore(IMAGES_AT_ONCE)

        async def one(image: Image) -> Found | Fault:
            async with room:
                return await self._predict_one(image, loaded, detector, score=score, iou=iou)

        found = await asyncio.gather(*map(one, images))
        if faults := [each for each in found if isinstance(each, Fault)]:
            raise InvalidRequest(f"{len(faults)} of {len(images)} images cannot be read", faults=faults)
        return Prediction(loaded.name, loaded.version, detector, [f for f in found if isinstance(f, Found)])

    async def _predict_one(
        self, image: Image, loaded: "Loaded", detector: "Detector", *, score: float, iou: float
    ) -> Found | Fault:
        from posneg.service.serving.detection import feeds_of, finish, prepare

        started = time.perf_counter_ns()
        max_pixels = self._settings.max_image_mpx * 1_000_000
        try:
            prepared: Prepared = await self._in_thread(
                lambda: prepare(image.data, detector, max_pixels=max_pixels)
            )
        except ImageError as error:
            where = f"{image.id}: " if image.id is not None else ""
            return Fault(image.pointer, f"{where}{error}", "invalid_image")
        ready = time.perf_counter_ns()
        names = tuple(output["name"] for output in loaded.details["outputs"])
        feeds = feeds_of(prepared, detector, loaded.details["inputs"])
        answered = await loaded.batcher.run(feeds, names, rows=detector.image.rows or 1)
        ran = time.perf_counter_ns()
        detections = await self._in_thread(
            lambda: finish(
                dict(zip(names, answered.outputs, strict=True)), prepared, detector, score=score, iou=iou
            )
        )
        times = {
            "decode": ready - started,
            "queue": answered.queue_ns,
            "inference": answered.infer_ns,
            "postprocess": time.perf_counter_ns() - ran,
        }
        return Found(prepared.placement.size, detections, times)

    async def infer(self, name: str, version: int | None, body: bytes, json_length: str | None) -> "Body":
        """Tensors in, tensors out, in the Open Inference Protocol; `json_length` as its header says."""
        from posneg.service.serving.protocol import read_request, write_response

        loaded = await self.loader.get(name, version)
        inputs, outputs = loaded.details["inputs"], loaded.details["outputs"]
        request = await self._maybe_in_thread(
            lambda: read_request(
                body, json_length, inputs=inputs, outputs=outputs, max_rows=loaded.max_batch_size
            ),
            large=json_length is None and len(body) > LARGE_JSON_BYTES,
        )
        answered = await loaded.batcher.run(
            request.feeds, tuple(request.outputs), rows=request.rows, timeout_s=request.timeout_s
        )
        datatypes = {tensor["name"]: tensor["datatype"] for tensor in outputs}
        return await self._maybe_in_thread(
            lambda: write_response(
                request, answered.outputs, datatypes, model=loaded.name, version=loaded.version
            ),
            large=not all(request.outputs.values())
            and sum(output.nbytes for output in answered.outputs) > LARGE_JSON_BYTES,
        )

    async def metadata(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Tensors of a version in the Open Inference Protocol; -1 where an axis is free, as of the batch."""
        loaded = await self.loader.get(name, version)
        return {
            "name": name,
            "versions": [str(number) for number in repository.versions(self._folder, name)],
            "platform": PLATFORM,
            "inputs": loaded.details["inputs"],
            "outputs": loaded.details["outputs"],
        }

    async def config(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Triton's ModelConfig of a version, and where it runs."""
        loaded = await self.loader.get(name, version)
        made = model_config.config(loaded.details, max_batch_size=self._settings.max_batch_size)
        kind = "KIND_GPU" if loaded.provider.startswith("CUDA") else "KIND_CPU"
        return {**made, "instance_group": [{"name": name, "kind": kind, "count": 1}]}

    def statistics(self, name: str | None = None, version: int | None = None) -> list[dict[str, Any]]:
        """Counters of all versions, of one model's, or of one; raises `NotFound`."""
        if name is not None:
            repository.read(self._folder, name, version)
        states = [
            state
            for state in self.loader.states()
            if name in (None, state.name) and version in (None, state.version)
        ]
        return [self.loader.statistics(s.name, s.version).show(s.name, s.version) for s in states]

    async def publish(self, name: str, file: Path, wishes: Wishes) -> tuple[Published, ModelVersion]:
        """Check a file in a child process, keep it as the next version of `name`, and load it."""
        from posneg.service.serving.inspection import inspect

        repository.checked_name(name)
        async with self._probes:
            details = await asyncio.to_thread(inspect, file, wishes)
        published = await asyncio.to_thread(
            lambda: repository.publish(self._folder, name, file, details={**details, "source": "upload"})
        )
        given = {key for key, value in asdict(wishes).items() if value is not None}
        if given and not published.created:
            changes = {key: details[key] for key in ("layout", "labels", "input_size", "preprocessing")}
            await asyncio.to_thread(repository.amend, self._folder, name, published.version, changes)
        await self.loader.load(name, published.version)
        return published, repository.read(self._folder, name, published.version)

    async def details(self, found: ModelVersion) -> Mapping[str, Any]:
        """What is known of a version; of one that others put in the folder, what loading it showed."""
        if found.details:
            return found.details
        try:
            known = (await self.loader.get(found.name, found.version)).details
        except Unavailable as error:
            known = {"warnings": [error.detail]}
        return {**known, "sha256": await asyncio.to_thread(lambda: found.sha256)}

    async def delete(self, name: str) -> None:
        """Remove a model and all its versions; requests under way end as they would."""
        await asyncio.to_thread(repository.delete, self._folder, name)
        self.loader.forget_all_about(name)

    async def _maybe_in_thread(self, work: Callable[[], T], *, large: bool) -> T:
        """Small work is done faster here than handed over; large work must not hold up the others."""
        return await self._in_thread(work) if large else work()

    def _in_thread(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._images, work)
