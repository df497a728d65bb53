"""Opening a node's data directory: finding out which cluster it is for, and starting anew."""

from __future__ import annotations

import select
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from felix.cli.config import Config
from felix.cli.settings import owner_of, seeds_of
from felix.core import enrolment
from felix.proto.control_plane import Call
from felix.proto.errors import FelixError
from felix.proto.queries import ClusterStatus, GetCluster
from felix.storage.data_dir import DataDir, read_identity, set_aside
from felix.storage.errors import StorageError
from felix.storage.ports import Identity
from felix.transport.node_curve import NodeCurve
from felix.transport.rpc_client import RpcClient

ASK_S: Final = 0.3
ASK_AGAIN_S: Final = 0.5

log = structlog.get_logger("felix.serve")


Waiting: TypeAlias = Callable[[str], AbstractContextManager[None]]


class _Stopped(Exception):
    """Told to stop while waiting."""


def open_data_dir(
    config: Config, stop: int, curve: NodeCurve | None, waiting: Waiting
) -> DataDir | None:
    """Open the data directory, or make a new one; None if told to stop meanwhile.

    `stop` is a descriptor that can be read once this process is to end. `waiting` is entered with
    the reason for as long as there is nobody to join.
    Raises: `storage.errors.StorageError`, OSError.
    """
    try:
        return DataDir.open(
            Path(config.data_dir), owner_of(config), lambda: _draw(config, stop, curve, waiting)
        )
    except _Stopped:
        return None


def start_anew(config: Config, why: str, error: Exception | None = None) -> None:
    """Put everything aside that cannot be trusted, and be somebody new.

    Only where there are others that have what this node has lost. Raises: `error` where there are
    none; `storage.errors.StorageError`.
    """
    path = Path(config.data_dir)
    if error is not None and (len(config.cluster.members) == 1 or read_identity(path) is None):
        raise error
    aside = set_aside(path, owner_of(config), uuid.uuid4().hex)
    log.critical(
        "this node does not trust its data any more and asks to be taken in anew",
        name=config.name,
        because=why,
        set_aside=str(aside),
    )


def _draw(config: Config, stop: int, curve: NodeCurve | None, waiting: Waiting) -> Identity:
    """Make up a new identity, in the cluster that the other members are, or are to be."""
    is_founder = config.cluster.bootstrap == "new"
    if not is_founder and not seeds_of(config):
        raise StorageError(
            f"the data directory {config.data_dir} is empty, cluster.bootstrap is 'existing', and "
            "cluster.members names nobody else who could take this node in"
        )
    cluster_id = _cluster_of_the_others(config, curve)
    if cluster_id is None and is_founder:
        # Alone, a founder agrees with nobody: so one that has lost its disk, and does not know that
        # its cluster has grown, is not taken for a part of it.
        alone = len(config.cluster.members) == 1
        cluster_id = uuid.uuid4().hex if alone else config.new_cluster_id
    if cluster_id is None:
        why = (
            f"waiting for a member of the cluster to answer: {', '.join(sorted(seeds_of(config)))}"
        )
        log.warning(why)
        with waiting(why):
            cluster_id = _wait_for_the_others(config, stop, curve)
    return Identity(
        cluster_id=cluster_id,
        node_id=uuid.uuid4().hex,
        name=config.name,
        cluster_name=config.cluster.name,
        founder=is_founder,
    )


def _wait_for_the_others(config: Config, stop: int, curve: NodeCurve | None) -> str:
    """Ask until somebody answers. Raises: _Stopped."""
    while True:
        if select.select([stop], [], [], ASK_AGAIN_S)[0]:
            raise _Stopped
        if curve is not None:
            curve.allowed.look()  # nobody else does, yet
        cluster_id = _cluster_of_the_others(config, curve)
        if cluster_id is not None:
            return cluster_id


def _cluster_of_the_others(config: Config, curve: NodeCurve | None) -> str | None:
    """Ask each of the other members which cluster it belongs to."""
    for name, there in seeds_of(config).items():
        secured = None if curve is None else curve.client_of(name)
        if curve is not None and secured is None:
            continue
        client = RpcClient(f"tcp://{there.rpc}", curve=secured)
        try:
            call = Call(timeout_s=ASK_S, consistency="stale")
            status = client.ask(GetCluster(), call).result
        except FelixError:
            continue
        finally:
            client.close()
        assert isinstance(status, ClusterStatus)
        if not enrolment.is_outsider(status):
            return status.cluster_id
    return None
