"""The golden vectors, read and written by our codec, and read by plain `msgpack`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from felix.proto.codec import Decoder, ForeignDecoder, encode
from felix.proto.digest import Digest
from tests.proto.vector_cases import FILES, Case

FOLDER = Path(__file__).parent.parent / "vectors"


def plain(value: Any) -> Any:
    """Turn what `msgpack` gives into JSON: bytes become `{"hex": ...}`."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def written(case: Case) -> dict[str, Any]:
    data = encode(case.record)
    return {
        "name": case.name,
        "what": case.what,
        "bytes": data.hex(),
        "content": plain(msgpack.unpackb(data)),
    }


def all_cases() -> list[Any]:
    return [
        pytest.param(file, case, id=case.name) for file, make in FILES.items() for case in make()
    ]


def stored(file: str) -> dict[str, dict[str, Any]]:
    vectors = json.loads((FOLDER / f"{file}.json").read_text())
    return {vector["name"]: vector for vector in vectors}


def test_the_files_hold_exactly_the_known_vectors(request: pytest.FixtureRequest) -> None:
    for file, make in FILES.items():
        text = json.dumps([written(case) for case in make()], indent=1, ensure_ascii=True) + "\n"
        path = FOLDER / f"{file}.json"
        if request.config.getoption("--update-vectors", default=False):
            path.write_text(text)
        assert path.read_text() == text, "the protocol changed: see tests/proto/vector_cases.py"


@pytest.mark.parametrize(("file", "case"), all_cases())
def test_the_codec_writes_and_reads_the_bytes_of_the_vector(file: str, case: Case) -> None:
    data = bytes.fromhex(stored(file)[case.name]["bytes"])
    assert encode(case.record) == data
    assert Decoder[Any](case.kind).decode(data) == case.record
    if file == "requests":
        assert ForeignDecoder[Any](case.kind).decode(data) == case.record


@pytest.mark.parametrize("file", FILES)
def test_plain_msgpack_reads_what_the_vector_says_and_writes_the_same_bytes(file: str) -> None:
    for vector in stored(file).values():
        data = bytes.fromhex(vector["bytes"])
        content = msgpack.unpackb(data)
        assert plain(content) == vector["content"]
        assert msgpack.packb(content) == data, "not the shortest form of MessagePack"


def test_the_digest_of_the_snapshot_is_the_sum_of_the_hashes_of_its_objects() -> None:
    vector = stored("replies")["reply-snapshot-chunk"]
    result = vector["content"][5]
    digest = Digest()
    for one in result["objects"]:
        digest.add(msgpack.packb(one))
    assert result["digest"] == digest.hex()
