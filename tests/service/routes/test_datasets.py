"""Data sets over HTTP: put, read, listed, deleted; and whatever is sent, the service lives on."""

import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.coco_zips import box, document, image, picture, pictures, shared, simple, zipped
from tests.conftest import Server

PETS = zipped({"train.json": simple([1, 2]), "val.json": simple([3]), **pictures("images/", [1, 2, 3])})
OTHERS = zipped({"train.json": simple([4]), "val.json": simple([5]), **pictures("images/", [4, 5])})
ZIP = {"content-type": "application/zip"}


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A caller; afterwards every data set is gone again, and nothing is left of the uploads."""
    with httpx.Client(base_url=server.url, timeout=60) as caller:
        yield caller
        for found in caller.get("/v1/datasets?limit=1000").json()["data"]:
            if not found["generated"]:
                assert caller.delete(f"/v1/datasets/{found['name']}").status_code == 204
    assert [*server.data.glob(".upload-*")] == []


def put(client: httpx.Client, name: str, body: bytes, **headers: str) -> httpx.Response:
    return client.put(f"/v1/datasets/{name}", content=body, headers=ZIP | headers)


def alive(client: httpx.Client) -> bool:
    """The service still answers, a good upload included."""
    return client.get("/livez").status_code == 200 and put(client, "after", PETS).status_code in (200, 201)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    return body


def test_a_data_set_is_put_read_replaced_and_deleted(client: httpx.Client) -> None:
    """201, then 200, with a strong tag and a location; 404 in the end."""
    created = put(client, "pets", PETS)

    assert created.status_code == 201
    assert created.headers["location"] == "/v1/datasets/pets"
    body = created.json()
    assert created.headers["etag"] == f'"{body["etag"]}"'
    assert body["classes"] == ["cat", "dog"]
    assert body["splits"]["val"]["images"] == 1
    assert body["issues"] == []
    assert client.get("/v1/datasets/pets").json() == body
    replaced = put(client, "pets", OTHERS)
    assert replaced.status_code == 200
    assert replaced.json()["etag"] != body["etag"]
    assert client.delete("/v1/datasets/pets").status_code == 204
    assert "GET /v1/datasets" in problem(client.get("/v1/datasets/pets"), 404)["detail"]
    problem(client.delete("/v1/datasets/pets"), 404)


def test_tags_decide(client: httpx.Client) -> None:
    """`If-None-Match` spares the body, `If-Match` keeps the version that somebody else put."""
    tag = put(client, "pets", PETS).headers["etag"]

    assert client.get("/v1/datasets/pets", headers={"if-none-match": tag}).status_code == 304
    assert put(client, "pets", PETS, **{"if-match": tag}).status_code == 200
    assert put(client, "pets", OTHERS, **{"if-match": tag}).status_code == 200
    problem(put(client, "pets", PETS, **{"if-match": tag}), 412)
    problem(client.delete("/v1/datasets/pets", headers={"if-match": tag}), 412)
    problem(put(client, "new", PETS, **{"if-match": tag}), 412)
    assert client.get("/v1/datasets/pets", headers={"if-none-match": tag}).status_code == 200
    assert client.get("/v1/datasets/new").status_code == 404


def test_the_generated_data_set_is_always_there(client: httpx.Client) -> None:
    """Told like any other, but it stays."""
    found = client.get("/v1/datasets/shapes")

    assert found.json()["generated"] is True
    assert found.json()["classes"] == ["circle", "square", "triangle"]
    tag = found.headers["etag"]
    assert client.get("/v1/datasets/shapes", headers={"if-none-match": tag}).status_code == 304
    problem(put(client, "shapes", PETS), 409)
    problem(client.delete("/v1/datasets/shapes"), 409)


def test_lists_are_pages_by_name(client: httpx.Client) -> None:
    """Without issues; the next page begins after the last name."""
    for name in ("b", "a", "z"):
        put(client, name, PETS)

    first = client.get("/v1/datasets?limit=2").json()
    second = client.get("/v1/datasets", params={"limit": 2, "after": first["next"]}).json()

    assert [found["name"] for found in first["data"] + second["data"]] == ["a", "b", "shapes", "z"]
    assert (first["has_more"], second["has_more"], second["next"]) == (True, False, None)
    assert "issues" not in first["data"][0]
    assert first["data"][0]["issues_total"] == 0


def test_broken_annotations_are_told(client: httpx.Client) -> None:
    """What, where, and what was done about it."""
    boxes = [box(1, 1), box(2, 1, [1, 2, float("nan"), 4]), box(3, 1, [0, 0, 100, 100])]
    files = {"train.json": document([image(1)], boxes), "val.json": simple([2]), **pictures("", [1, 2])}

    body = put(client, "pets", zipped(files)).json()

    assert body["issues_total"] == 2
    assert body["issues_by_code"] == {"BOX_CLIPPED": 1, "BOX_NOT_FINITE": 1}
    assert body["issues"][0] == {
        "code": "BOX_NOT_FINITE",
        "file": "train.json",
        "pointer": "/annotations/1/bbox",
        "id": 2,
        "detail": "bbox is [1, 2, nan, 4], which is not finite",
        "action": "dropped",
    }


@pytest.mark.parametrize(
    "kind", ["application/octet-stream", "application/x-zip-compressed", "APPLICATION/ZIP", None]
)
def test_a_zip_has_several_names(client: httpx.Client, kind: str | None) -> None:
    """Or none."""
    headers = {} if kind is None else {"content-type": kind}

    assert client.put("/v1/datasets/pets", content=PETS, headers=headers).status_code == 201


def test_a_form_with_one_file_is_taken(client: httpx.Client) -> None:
    """As browsers and `curl -F` send it; other fields are read past."""
    form = {"note": "hello"}
    response = client.put("/v1/datasets/pets", data=form, files={"file": ("pets.zip", PETS)})

    assert response.status_code == 201
    assert response.json()["etag"] == put(client, "same", PETS).json()["etag"]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "multipart/form-data"}, PETS, 400),
        ({"content-type": "multipart/form-data; boundary="}, PETS, 400),
        ({"content-type": f"multipart/form-data; boundary={'b' * 300}"}, PETS, 400),
        ({"content-type": "multipart/form-data; boundary=b"}, PETS, 400),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\nhello", 400),
        ({"content-type": "multipart/form-data; boundary=b"}, b"", 400),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b--\r\n", 422),
        (
            {"content-type": "multipart/form-data; boundary=b"},
            b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
            422,
        ),
        ({"content-type": "application/json"}, b"{}", 415),
        ({"content-type": "text/plain"}, PETS, 415),
        (ZIP | {"content-encoding": "gzip"}, PETS, 415),
    ],
)
def test_other_bodies_are_refused(
    client: httpx.Client, headers: dict[str, str], body: bytes, status: int
) -> None:
    """Forms that are none, other types, encodings."""
    problem(client.put("/v1/datasets/pets", content=body, headers=headers), status)
    assert alive(client)


def test_a_form_with_two_files_is_refused(client: httpx.Client) -> None:
    """It would be a guess which one is meant."""
    files = [("file", ("a.zip", PETS)), ("file", ("b.zip", OTHERS))]

    assert "2 files" in problem(client.put("/v1/datasets/pets", files=files), 422)["detail"]


def bomb() -> bytes:
    """70 MiB of zeros in 70 KiB."""
    return zipped({"zeros": bytes(70 * 2**20)})


def declared_small() -> bytes:
    """An entry that says it has ten bytes, and has 100,000."""
    data = bytearray(zipped({"a": bytes(100_000)}))
    struct.pack_into("<L", data, data.rindex(b"PK\x01\x02") + 24, 10)
    return bytes(data)


def link() -> bytes:
    """A symbolic link to a file of the system."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("images/1.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


ATTACKS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "nothing": (lambda: b"", 422, "not_a_zip"),
    "no zip": (lambda: b"hello" * 1000, 422, "not_a_zip"),
    "an image": (picture, 422, "not_a_zip"),
    "cut off": (lambda: PETS[:-30], 422, "not_a_zip"),
    "cut in the middle": (lambda: PETS[: len(PETS) // 2], 422, "not_a_zip"),
    "beginning lost": (lambda: PETS[len(PETS) // 2 :], 422, "broken_archive"),
    "damaged": (lambda: PETS[:200] + bytes(50) + PETS[250:], 422, "broken_archive"),
    "parent": (lambda: zipped({"../evil": b"x"}), 422, "unsafe_name"),
    "absolute": (lambda: zipped({"/tmp/evil": b"x"}), 422, "unsafe_name"),
    "drive": (lambda: zipped({"C:\\evil": b"x"}), 422, "unsafe_name"),
    "link": (link, 422, "not_a_file"),
    "bomb": (bomb, 413, "bomb"),
    "lies": (declared_small, 422, "broken_archive"),
    "empty": (lambda: zipped({}), 422, "unknown_layout"),
    "no annotations": (lambda: zipped(pictures("", [1])), 422, "unknown_layout"),
    "broken annotations": (lambda: zipped({"train.json": b"{"}), 422, "unknown_layout"),
    "deep annotations": (lambda: zipped({"train.json": b"[" * 500_000}), 422, "unknown_layout"),
    "no boxes": (
        lambda: zipped({"train.json": document([image(1)]), **pictures("", [1])}),
        422,
        "nothing_usable",
    ),
    "no images": (lambda: zipped({"train.json": simple([1])}), 422, "nothing_usable"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_or_broken_archive_is_a_problem(client: httpx.Client, attack: str) -> None:
    """With a code for the reason, never a 500, nothing kept; and the service lives on."""
    make, status, code = ATTACKS[attack]

    body = problem(put(client, "evil", make()), status)

    assert body["errors"][0]["code"] == code
    assert body["detail"]
    assert client.get("/v1/datasets/evil").status_code == 404
    assert alive(client)


def test_two_entries_of_one_name_are_refused(client: httpx.Client) -> None:
    """Or of names that a case-folding file system takes for one."""
    body = problem(put(client, "evil", zipped({"a.json": b"{}", "A.json": b"{}"})), 422)

    assert body["errors"] == [
        {
            "pointer": "/A.json",
            "detail": "'A.json' and 'a.json' differ in case or accents alone; rename one",
            "code": "name_collision",
        }
    ]


@pytest.mark.parametrize("name", ["Pets", "%2e%2e", ".pets", "a" * 129, "p%20ets", "%C3%A4"])
def test_a_name_that_is_none_is_refused(client: httpx.Client, name: str) -> None:
    """422 with a pointer to the path where it would be kept; 404 where it is looked for."""
    assert problem(put(client, name, PETS), 422)["errors"][0]["pointer"] == "/path/name"
    problem(client.get(f"/v1/datasets/{name}"), 404)


def test_limits_are_problems_that_name_them(start_server: Callable[..., Server]) -> None:
    """Of the body, as declared and as sent, of files and of bytes; and the service lives on."""
    server = start_server(max_upload_mib=1, max_dataset_files=6, max_dataset_mib=1)

    def chunks() -> Iterator[bytes]:
        yield from [bytes(2**16)] * 40

    with httpx.Client(base_url=server.url, timeout=60) as client:
        for body in (bytes(2 * 2**20), chunks()):
            response = client.put("/v1/datasets/pets", content=body, headers=ZIP)
            assert "max_upload_mib" in problem(response, 413)["detail"]
        many = zipped({str(number): b"" for number in range(7)})
        assert "max_dataset_files" in problem(put(client, "pets", many), 413)["detail"]
        assert (
            "max_dataset_mib" in problem(put(client, "pets", zipped({"a": bytes(2**20 + 1)})), 413)["detail"]
        )
        assert put(client, "pets", PETS).status_code == 201
    assert [*server.data.glob(".upload-*")] == []


def test_a_caller_who_hangs_up_leaves_nothing(client: httpx.Client, server: Server) -> None:
    """The connection ends in the middle of the body."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            b"PUT /v1/datasets/pets HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\n"
            b"Content-Length: 1000000\r\n\r\n" + PETS[:1000]
        )
        while not [*server.data.glob(".upload-*/body")]:
            assert client.get("/livez").status_code == 200
    while [*server.data.glob(".upload-*")]:
        assert client.get("/livez").status_code == 200

    assert client.get("/v1/datasets/pets").status_code == 404
    assert alive(client)


def test_a_large_body_is_never_in_memory(client: httpx.Client, server: Server) -> None:
    """192 MiB pass through in pieces: the process grows by far less."""

    def peak_mib() -> float:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    noise = picture(1000, 600)
    files = {"train.json": simple([1, 2]), **pictures("", [1, 2])}
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (
            files | {f"more/{n}.png": noise for n in range(192 * 2**20 // len(noise))}
        ).items():
            archive.writestr(name, data)
    put(client, "pets", PETS)  # what is imported on first use is there
    before = peak_mib()

    body = put(client, "large", buffer.getvalue()).json()

    assert body["images"] == 2
    assert len(buffer.getvalue()) > 190 * 2**20
    assert peak_mib() - before < 64


@pytest.mark.parametrize("name", ["bccd", "bccd-mini"])
def test_blood_cells_go_in_over_http(client: httpx.Client, name: str) -> None:
    """The folder as it is, zipped with a folder around it: every image and box, no issue."""
    folder = shared(name)
    files = {f"{name}/{p.relative_to(folder)}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    body = put(client, name, zipped(files)).json()

    assert body["classes"] == ["RBC", "WBC", "Platelets"]
    assert body["issues"] == []
    boxes = {split: counts["boxes"] for split, counts in body["splits"].items()}
    assert (
        boxes
        == {"bccd": {"train": 2800, "val": 1135, "test": 944}, "bccd-mini": {"train": 577, "val": 240}}[name]
    )
