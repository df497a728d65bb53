"""A control plane's metadata in the fewest words: what brokers should end up believing."""

from __future__ import annotations

from random import Random

import msgspec

from felix.proto.codec import encode
from felix.proto.digest import Digest
from felix.proto.errors import Compacted, FutureVersion
from felix.proto.queries import GetSnapshot, WatchUpdates
from felix.proto.resources import Namespace, Resource, Stream, StreamSpec, Tenant
from felix.proto.rpc import PROTOCOL
from felix.proto.updates import RawUpdate, SnapshotChunk, UpdateBatch, UpdateType, WatchHeader

CHUNK_OBJECTS = 3
BATCH_UPDATES = 5


class MetadataModel:
    """One epoch of one cluster: every version that ever was, and what stood at each."""

    def __init__(self, cluster_id: str = "c1", epoch: int = 1, version: int = 0) -> None:
        self.cluster_id = cluster_id
        self.epoch = epoch
        self.base = version
        self.batch_updates = BATCH_UPDATES
        self.compacted_to = version
        """Updates up to this version are forgotten."""
        self.updates: list[RawUpdate] = []
        self._states: list[dict[tuple[str, ...], bytes]] = [{}]

    @property
    def version(self) -> int:
        return self.base + len(self.updates)

    def state(self, version: int) -> dict[tuple[str, ...], bytes]:
        """What stood at a version: encoded objects by kind and names."""
        return self._states[version - self.base]

    def digest(self, version: int) -> str:
        digest = Digest()
        for raw in self.state(version).values():
            digest.add(raw)
        return digest.hex()

    def put(self, resource: Resource) -> None:
        """Create or update an object."""
        place = (type(resource).__name__, *resource.key)
        resource = msgspec.structs.replace(resource, version=self.version + 1)
        self._record("UPDATE" if place in self._states[-1] else "CREATE", place, encode(resource))

    def put_stream(self, name: str, shards: int = 1) -> None:
        self.put(
            Stream(tenant_id="acme", namespace="prod", stream=name, spec=StreamSpec(shards=shards))
        )

    def delete(self, place: tuple[str, ...]) -> None:
        self._record("DELETE", place, self._states[-1][place])

    def change(self, random: Random) -> None:
        """Do something or other."""
        state = self._states[-1]
        if state and random.random() < 0.3:
            self.delete(random.choice(sorted(state)))
            return
        number = random.randrange(12)
        options: list[Resource] = [
            Tenant(tenant_id=f"t{number}", display_name=str(random.random())),
            Namespace(tenant_id="acme", namespace=f"n{number}"),
            Stream(tenant_id="acme", namespace="prod", stream=f"s{number}"),
        ]
        self.put(random.choice(options))

    def _record(self, kind: UpdateType, place: tuple[str, ...], raw: bytes) -> None:
        state = dict(self._states[-1])
        if kind == "DELETE":
            del state[place]
        else:
            state[place] = raw
        self.updates.append(RawUpdate(self.version + 1, kind, msgspec.Raw(raw)))
        self._states.append(state)

    # --- as a node tells it ---------------------------------------------------------------------

    def frame(self, first: int, last: int, node_id: str = "n1") -> tuple[bytes, bytes]:
        """Header and payload of the versions `first..last`."""
        header = WatchHeader(
            PROTOCOL, self.cluster_id, self.epoch, first, last, node_id, 1_000, self.digest(last)
        )
        return encode(header), encode(self.updates[first - 1 - self.base : last - self.base])

    def bookmark(self, version: int, node_id: str = "n1") -> tuple[bytes, bytes]:
        return self.frame(version + 1, version, node_id)

    def watch_updates(self, query: WatchUpdates, version: int) -> UpdateBatch:
        """Answer as a node that has got to `version`. Raises: Compacted, FutureVersion."""
        since = query.from_version
        if query.epoch not in {0, self.epoch} or since < self.compacted_to:
            raise self._compacted(version)
        if since > version:
            raise FutureVersion("not yet", details={"current": version, "epoch": self.epoch})
        last = min(version, since + (query.limit or self.batch_updates))
        return UpdateBatch(
            self.cluster_id,
            self.epoch,
            since + 1,
            last,
            version,
            self.updates[since - self.base : last - self.base],
            self.digest(version) if last == version else "",
        )

    def get_snapshot(self, query: GetSnapshot, version: int) -> SnapshotChunk:
        """Answer as a node that has got to `version`. Raises: Compacted, FutureVersion."""
        at = query.version or version
        if at < self.compacted_to:
            raise self._compacted(version)
        if at > version:
            raise FutureVersion("not yet", details={"current": version, "epoch": self.epoch})
        objects = list(self.state(at).values())
        chunks = max(1, -(-len(objects) // CHUNK_OBJECTS))
        piece = objects[query.chunk * CHUNK_OBJECTS : (query.chunk + 1) * CHUNK_OBJECTS]
        return SnapshotChunk(
            self.cluster_id,
            self.epoch,
            at,
            query.chunk,
            chunks,
            self.digest(at),
            [msgspec.Raw(raw) for raw in piece],
        )

    def _compacted(self, version: int) -> Compacted:
        details: dict[str, int | str] = {
            "oldest": self.compacted_to,
            "current": version,
            "epoch": self.epoch,
        }
        return Compacted("history does not reach back so far", details=details)
