"""gunicorn as a child of the node process: started, watched, and ended with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator

import structlog

from felix.actors.consensus import MustStop
from felix.cli.config import Config
from felix.cli.config_checks import bootstrap_tokens
from felix.http.gunicorn_command import (
    APP_LOAD_ERROR,
    gunicorn_command,
    gunicorn_environment,
    put_settings,
)
from felix.http.settings import HttpSettings
from felix.identity.settings import IdentitySettings

CHILD_CHECK_S = 0.25
CHILD_RESTART_S = 1.0

log = structlog.get_logger("felix.serve")


def http_settings(config: Config, rpc_local: str) -> HttpSettings:
    """Cut out what the HTTP processes need. Raises: OSError (a token cannot be read)."""
    grace_s = config.shutdown_drain_timeout_ms / 1000
    auth, keys = config.auth, config.keys
    return HttpSettings(
        node_name=config.name,
        region_id=config.region_id,
        timeout_s=config.limits.timeout_s,
        changes_limit=config.changes_limit,
        is_open=auth.mode == "open",
        open_feeds=auth.open_feeds,
        issuer_changes_need_cluster=auth.issuer_changes == "cluster",
        idp_private_addresses=auth.idp_private_addresses,
        key_publish_lead_s=keys.publish_lead_s,
        key_retire_after_s=keys.retire_after_s,
        client_requests_per_s=config.limits.client_requests_per_s,
        confirm_durable_deletes=config.streams.confirm_durable_deletes,
        delete_grace_s=config.streams.delete_grace_s,
        identity=IdentitySettings(
            algorithms=config.oidc_allowed_algorithms,
            accept_broker_tokens=auth.accept_broker_tokens,
            token_lifetime_s=auth.token_lifetime_s,
            refresh_lifetime_s=auth.refresh_lifetime_s,
            kek_file=keys.kek_file,
            kek=keys.kek,
            previous_kek_files=keys.previous_kek_files,
            identity_age_max_s=auth.identity_age_max_s,
        ),
        bootstrap_bind=config.bootstrap.bind_addr if config.bootstrap.enabled else "",
        bootstrap_tokens=bootstrap_tokens(config) if config.bootstrap.enabled else (),
        cert_file=config.tls.cert_file,
        key_file=config.tls.key_file,
        rpc_endpoint=rpc_local,
        bind=config.listen.http,
        workers=config.http.workers,
        threads=config.http.threads,
        broker_waiters_max=config.http.broker_waiters_max,
        graceful_timeout_s=max(1, int(grace_s) - 1),  # it ends by itself before it is made to
        log_level=config.log.level,
    )


@contextlib.contextmanager
def http_processes(
    config: Config, rpc_local: str, must_stop: Callable[[MustStop], None]
) -> Iterator[None]:
    """Run gunicorn, start it anew when it dies, and end it within the drain timeout.

    `must_stop` is told, in another thread, when it cannot use the configuration.
    """
    grace_s = config.shutdown_drain_timeout_ms / 1000
    settings = http_settings(config, rpc_local)
    lifeline, ours = os.pipe()  # the child reads; our end closes with us, however we end
    child = HttpChild(settings, lifeline, must_stop)
    child.start()
    try:
        yield
    finally:
        child.stop(grace_s)
        child.close()
        os.close(ours)
        os.close(lifeline)


class HttpChild:
    """The gunicorn process of a node."""

    def __init__(
        self, settings: HttpSettings, lifeline: int, must_stop: Callable[[MustStop], None]
    ) -> None:
        """`lifeline` is the reading end of a pipe whose other end this process holds."""
        self._must_stop = must_stop
        self._command = gunicorn_command(settings)
        self._settings_fd = put_settings(settings)
        self._lifeline = lifeline
        self._stopping = threading.Event()
        self._process = self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="http-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch the child."""
        self._watcher.start()

    def stop(self, grace_s: float) -> None:
        """End the child: politely, then by force."""
        self._stopping.set()
        self._watcher.join()
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Forget the settings, and the secrets in them; once the child has ended."""
        os.close(self._settings_fd)

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own command, no shell
            self._command,
            env=gunicorn_environment(self._settings_fd, self._lifeline),
            pass_fds=[self._settings_fd, self._lifeline],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches this process only, which stops the child
        )

    def _watch(self) -> None:
        while not self._stopping.wait(CHILD_CHECK_S):
            code = self._process.poll()
            if code == APP_LOAD_ERROR:
                # It would be the same the next time, and every second after that.
                said = "the HTTP processes cannot use the configuration; they have said why"
                self._must_stop(MustStop("config", said))
                return
            if code is not None:
                log.error("the HTTP processes ended, starting them anew", exit_code=code)
                if self._stopping.wait(CHILD_RESTART_S):
                    return
                self._process = self._spawn()
