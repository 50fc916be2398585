"""Served models: what is in the repository answers, whatever comes and goes there meanwhile."""

import asyncio
import io
import subprocess
import sys
from contextlib import asynccontextmanager

import numpy as np
import pytest
from PIL import Image as Pillow

from posneg.models.imaging import letterbox
from posneg.service import repository
from posneg.service.errors import Conflict, InvalidRequest, NotFound, Unavailable
from posneg.service.serving.models import Image, ServedModels
from posneg.service.serving.wishes import Wishes
from posneg.service.settings import Settings
from tests.service import onnx_models

DETAILS = {
    "labels": ["red", "green"],
    "layout": "yolov8",
    "input_size": list(onnx_models.SIZE),
    "preprocessing": {"scale": 1 / 255},
    "batchable": True,
}
BRIGHT = np.full((128, 192, 3), 255, np.uint8)


def png(pixels):
    """The pixels as a file."""
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "png")
    return file.getvalue()


@asynccontextmanager
async def serving(folder, **settings):
    """Served models over a folder, started and closed."""
    served = ServedModels(Settings(data=folder, **settings))
    await served.start()
    yield served
    await served.close()


async def boxes(served, name="m", version=None):
    """The detections' boxes for a bright image."""
    answer = await served.predict(name, version, [Image(png(BRIGHT), "")], score=0.25, iou=0.7)
    return answer.version, answer.images[0].detections.boxes.tolist()


def put(folder, name="m", shift=0.0):
    """A version whose boxes are shifted by some pixels."""
    rows = onnx_models.ROWS + np.float32([shift, 0, 0, 0, 0, 0])
    file = onnx_models.detector(folder / "new.onnx", rows=rows)
    return repository.publish(folder / "models", name, file, details=DETAILS)


def test_boxes_are_in_pixels_of_the_image_as_sent(tmp_path):
    """Scaled back from the letterbox, clipped to the image; suppressed by class; best first."""
    put(tmp_path)

    async def main():
        async with serving(tmp_path) as served:
            wide = np.full((64, 192, 3), 255, np.uint8)
            images = [Image(png(BRIGHT), ""), Image(png(wide), "")]
            return await served.predict("m", None, images, score=0.25, iou=0.7)

    answer = asyncio.run(main())

    first, second = (found.detections for found in answer.images)
    assert first.boxes.tolist() == [
        [24, 32, 56, 48],
        [24, 32, 56, 48],
        [110, 60, 130, 100],
        [150, 90, 192, 128],
    ]
    assert first.labels.tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(first.scores, [1, 0.8, 0.7, 0.5], rtol=1e-6)
    # 64x192 lies in 64x96 at half its size, 16 rows down; what is above or below is clipped.
    _, placement = letterbox(wide_image(), onnx_models.SIZE)
    assert (placement.scale, placement.top) == (0.5, 16)
    assert second.boxes[0].tolist() == [24, 0, 56, 16]
    assert answer.images[1].size == (64, 192)
    assert [answer.detector.label(i) for i in (0, 1)] == ["red", "green"]


def wide_image():
    """As in the test above."""
    return np.full((64, 192, 3), 255, np.uint8)


def test_many_images_answer_as_one_does(tmp_path):
    """However they were batched: the same bits."""
    put(tmp_path)
    random = np.random.default_rng(0)
    images = [Image(png(random.integers(0, 256, (40, 60, 3), np.uint8)), "") for _ in range(40)]

    async def main():
        async with serving(tmp_path) as served:
            together = await served.predict("m", None, images, score=0.1, iou=0.7)
            alone = [await served.predict("m", None, [image], score=0.1, iou=0.7) for image in images]
            return together, alone, served.statistics("m")[0]

    together, alone, statistics = asyncio.run(main())

    for found, single in zip(together.images, alone, strict=True):
        np.testing.assert_array_equal(found.detections.boxes, single.images[0].detections.boxes)
        np.testing.assert_array_equal(found.detections.scores, single.images[0].detections.scores)
    assert statistics["inference_count"] == 80


def test_every_bad_image_is_named(tmp_path):
    """By the part that it came in; the good ones among them change nothing."""
    put(tmp_path)
    whole = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    images = [
        Image(whole, "/images/0"),
        Image(whole[: len(whole) // 2], "/images/1", "cut.png"),
        Image(b"", "/images/2"),
        Image(b"text", "/images/3"),
        Image(png(np.zeros((2000, 1000, 3), np.uint8)), "/images/4"),
    ]

    async def main():
        async with serving(tmp_path, max_image_mpx=1) as served:
            await served.predict("m", None, images, score=0.25, iou=0.7)

    with pytest.raises(InvalidRequest, match="4 of 5") as refusal:
        asyncio.run(main())

    assert [fault.pointer for fault in refusal.value.faults] == [f"/images/{i}" for i in (1, 2, 3, 4)]
    assert refusal.value.faults[0].detail.startswith("cut.png: ")


def test_a_new_version_answers_at_once_and_the_old_one_stays(tmp_path):
    """Published by whomever, in whatever process; asked for by number, the old one still answers."""

    async def main():
        async with serving(tmp_path) as served:
            put(tmp_path)
            before = await boxes(served)
            put(tmp_path, shift=4)
            return before, await boxes(served), await boxes(served, version=1)

    before, after, old = asyncio.run(main())

    assert (before[0], after[0], old[0]) == (1, 2, 1)
    assert after[1][0][0] == before[1][0][0] + 8
    assert old == before


def test_no_request_is_lost_while_versions_change(tmp_path):
    """Requests without end, five versions meanwhile: each is answered by one version, right for it."""
    put(tmp_path)

    async def main():
        answers = []
        published = asyncio.Event()

        async def ask(served):
            while not published.is_set():
                answers.append(await boxes(served))

        async with serving(tmp_path) as served:
            asking = [asyncio.create_task(ask(served)) for _ in range(3)]
            for number in range(2, 6):
                await asyncio.to_thread(put, tmp_path, "m", float(number))
                assert (await boxes(served))[0] == number
            published.set()
            await asyncio.gather(*asking)
        return answers

    for version, found in asyncio.run(main()):
        shift = 0 if version == 1 else version
        assert found[0][0] == 24 + 2 * shift


def test_a_broken_version_leaves_the_one_before_in_use(tmp_path):
    """Whoever asks for it by number hears why; once it is replaced, it answers."""
    put(tmp_path)
    broken = tmp_path / "models" / "m" / "2"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"not a model")

    async def main():
        async with serving(tmp_path) as served:
            used = (await boxes(served))[0]
            with pytest.raises(Unavailable, match="version 2: not an ONNX file"):
                await served.predict("m", 2, [], score=0.25, iou=0.7)
            states = {s.version: (s.state, s.reason) for s in served.loader.states()}
            onnx_models.detector(broken / "model.onnx")
            return used, states, (await boxes(served))[0]

    used, states, repaired = asyncio.run(main())

    assert used == 1
    assert states[1] == ("READY", "")
    assert states[2][0] == "UNAVAILABLE"
    assert "not an ONNX file" in states[2][1]
    assert repaired == 2


def test_a_deleted_model_is_gone_and_one_of_its_name_is_another(tmp_path):
    """Nothing of the old one is served any more."""

    async def main():
        async with serving(tmp_path) as served:
            put(tmp_path)
            old = await boxes(served)
            await served.delete("m")
            with pytest.raises(NotFound):
                await boxes(served)
            put(tmp_path, shift=4)
            return old, await boxes(served)

    old, new = asyncio.run(main())

    assert (old[0], new[0]) == (1, 1)
    assert old[1] != new[1]


def test_an_unloaded_model_answers_again_once_it_is_loaded(tmp_path):
    """Unloading is no deletion."""

    async def main():
        async with serving(tmp_path) as served:
            put(tmp_path)
            await boxes(served)
            served.loader.unload("m")
            with pytest.raises(Unavailable, match="unloaded"):
                await boxes(served)
            states = [s.state for s in served.loader.states()]
            await served.loader.load("m")
            return states, await boxes(served)

    states, answer = asyncio.run(main())

    assert states == ["UNAVAILABLE"]
    assert answer[0] == 1


def test_only_so_many_versions_are_kept_in_memory(tmp_path):
    """The one that was not used for longest makes room, and comes back when it is asked for."""

    async def main():
        async with serving(tmp_path, max_loaded_models=2) as served:
            for name in ("a", "b"):
                put(tmp_path, name)
                await boxes(served, name)
            await boxes(served, "a")
            put(tmp_path, "c")
            await boxes(served, "c")
            states = {s.name: s.state for s in served.loader.states()}
            return states, await boxes(served, "b")

    states, answer = asyncio.run(main())

    assert states == {"a": "READY", "b": "", "c": "READY"}
    assert answer[0] == 1


def test_models_are_loaded_at_the_start(tmp_path):
    """The newest version of each, behind the start's back."""
    put(tmp_path)
    put(tmp_path, shift=1)
    put(tmp_path, "other")

    async def main():
        async with serving(tmp_path) as served:
            await served.preloaded()
            return {(s.name, s.version): s.state for s in served.loader.states()}

    assert asyncio.run(main()) == {("m", 1): "", ("m", 2): "READY", ("other", 1): "READY"}


def test_a_model_of_tensors_gives_no_detections(tmp_path):
    """It is served, and says why there are no boxes."""

    async def main():
        async with serving(tmp_path) as served:
            file = onnx_models.add_sub(tmp_path / "a.onnx")
            await served.publish("tensors", file, Wishes())
            with pytest.raises(Conflict, match="gives no detections: no input has the shape of RGB images"):
                await boxes(served, "tensors")
            return await served.metadata("tensors")

    assert asyncio.run(main())["platform"] == "onnxruntime_onnx"


def test_labels_sent_later_are_used(tmp_path):
    """The same file with other labels stays one version, and answers with the new ones."""

    async def main():
        async with serving(tmp_path) as served:
            file = onnx_models.detector(tmp_path / "a.onnx")
            labels = []
            for names in (("a", "b"), ("c", "d")):
                published, _ = await served.publish("m", file, Wishes(labels=names))
                answer = await served.predict("m", None, [Image(png(BRIGHT), "")], score=0.25, iou=0.7)
                labels.append((published.version, published.created, answer.detector.label(0)))
            return labels

    assert asyncio.run(main()) == [(1, True, "a"), (1, False, "c")]


def test_a_fixed_batch_is_filled(tmp_path):
    """A model that takes three images at once answers for one."""

    async def main():
        async with serving(tmp_path) as served:
            await served.publish("m", onnx_models.detector(tmp_path / "a.onnx", batch=3), Wishes())
            return await boxes(served)

    assert asyncio.run(main())[1][0] == [24, 32, 56, 48]


def test_serving_imports_no_torch():
    """What is served is the file; training's library is never needed, ONNX Runtime not before a model."""
    script = (
        "import sys, posneg.service.serving.models, posneg.service.routes.models;"
        "import posneg.service.routes.inference_protocol;"
        "print([m for m in ('torch', 'onnxruntime', 'onnx') if m in sys.modules]);"
        "import posneg.service.serving.loaded, posneg.service.serving.probe, posneg.service.serving.protocol;"
        "import posneg.service.serving.detection, posneg.service.serving.views;"
        "print('torch' in sys.modules)"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert said.stdout.split("\n")[:2] == ["[]", "False"]
