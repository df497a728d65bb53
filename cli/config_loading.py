"""Reads the configuration, from a file and the environment, and has it checked as a whole.

The environment wins over the file. An unknown key in either is an error, and every problem found
is reported at once. No problem and nothing shown repeats a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import yaml

from felix.cli.config import Config, MemberConfig, OidcAlgorithm
from felix.cli.config_checks import problems_of, serving_problems_of
from felix.identity.discreet import HIDDEN, SECRET_FIELDS

CONTRACT_NAMES: Final = {
    "listen.http": "FELIX_CONTROLPLANE_BIND",
    "listen.metrics": "FELIX_CONTROLPLANE_METRICS_BIND",
    "changes_limit": "FELIX_CONTROLPLANE_CHANGES_LIMIT",
    "change_retention_max_rows": "FELIX_CONTROLPLANE_CHANGE_RETENTION_MAX_ROWS",
    "oidc_allowed_algorithms": "FELIX_CONTROLPLANE_OIDC_ALLOWED_ALGORITHMS",
}
"""Variables that the existing Felix service names otherwise than the rule here would."""

CONFIG_PATH_VARIABLE: Final = "FELIX_CONTROLPLANE_CONFIG"
_NOT_CONFIGURATION: Final = re.compile(
    rf"{CONFIG_PATH_VARIABLE}|FELIX_HTTP_(SETTINGS|LIFELINE)_FD"
    r"|FELIX_ADMIN_\w+"  # of whoever runs felix-admin from the same shell
)
_SERVICE_LINK: Final = re.compile(
    r"FELIX_\w*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT(_\d+_(TCP|UDP)(_\w+)?)?)"
)
"""What Kubernetes puts into the environment for a service called `felix...`."""
_NO_DATABASE: Final = re.compile(r"FELIX_CONTROLPLANE_(STORAGE_BACKEND|POSTGRES_\w+)")
_BOOLEANS: Final = {"1": True, "true": True, "0": False, "false": False}
_ALGORITHMS: Final = {name.lower(): name for name in get_args(OidcAlgorithm)}


class ConfigError(Exception):
    """Everything that is wrong with a configuration."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def known_keys(kind: type[msgspec.Struct] = Config, prefix: str = "") -> dict[str, Any]:
    """List every key with its type: `raft.heartbeat_ms` -> int."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        path = f"{prefix}{field.name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found.update(known_keys(field.type, f"{path}."))
        else:
            found[path] = field.type
    return found


def variable_of(key: str) -> str:
    """Name the environment variable of a key."""
    return CONTRACT_NAMES.get(key, "FELIX_" + key.replace(".", "_").upper())


def load(path: Path | None, environment: Mapping[str, str], *, to_serve: bool = False) -> Config:
    """Read and check a configuration. Raises: ConfigError.

    `to_serve`: check also what only a node that runs needs, the files with secrets and
    certificates.
    """
    problems: list[str] = []
    if path is None and environment.get(CONFIG_PATH_VARIABLE):
        path = Path(environment[CONFIG_PATH_VARIABLE])
    values = _from_file(path, problems) if path else {}
    values.update(_from_environment(environment, problems))
    if problems:
        raise ConfigError(problems)
    config = _typed(values)
    problems = problems_of(config)
    if to_serve:
        problems += serving_problems_of(config)
    if problems:
        raise ConfigError(problems)
    return config


def render(config: Config) -> str:
    """Write a configuration as the file that `load` reads, secrets and all."""
    plain = msgspec.to_builtins(config)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def show(config: Config) -> str:
    """Write a configuration for people to read: of a secret only that it is there."""
    plain = msgspec.to_builtins(config)
    for section in plain.values():
        if isinstance(section, dict):
            section.update({name: HIDDEN for name in SECRET_FIELDS if section.get(name)})
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


class _StrictLoader(yaml.SafeLoader):
    """Refuses duplicate keys and aliases: neither is ever meant."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} stands twice")
        return super().construct_mapping(node, deep)


def _from_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, _StrictLoader)  # noqa: S506 - a safe loader, made stricter
    except yaml.YAMLError as error:
        problems.append(f"{path}: {_without_snippet(error)}")
        return {}
    except UnicodeDecodeError:
        problems.append(f"{path}: not UTF-8")  # the error would show what stands there
        return {}
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
        return {}
    if content is None:
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path}: a mapping is expected at the top level")
        return {}
    flat = _flat(content, known_keys())
    known = list(known_keys())
    problems += [
        f"{path}: unknown key {key!r}{_did_you_mean(key, known)}"
        for key in flat
        if key not in known
    ]
    return flat


def _without_snippet(error: yaml.YAMLError) -> str:
    """Say what is wrong and where; the error itself would quote the line, secret or not."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error)
    return f"line {error.problem_mark.line + 1}: {error.problem}"


def _flat(content: dict[Any, Any], known: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in known:
            flat.update(_flat(value, known, f"{key}."))
        elif value is not None:
            flat[key] = value
    return flat


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    by_variable = {variable_of(key): (key, kind) for key, kind in known_keys().items()}
    values: dict[str, Any] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith("FELIX_") or _NOT_CONFIGURATION.fullmatch(variable):
            continue
        if variable in by_variable:
            key, kind = by_variable[variable]
            try:
                values[key] = _parse(text, kind)
            except msgspec.MsgspecError as error:
                problems.append(f"{variable}: {error}")
        elif _NO_DATABASE.fullmatch(variable):
            problems.append(f"{variable}: metadata lives in the replicated log, not in a database")
        elif not _SERVICE_LINK.fullmatch(variable):
            hint = _did_you_mean(variable, list(by_variable))
            problems.append(f"unknown environment variable {variable}{hint}")
    return values


def _parse(text: str, kind: Any) -> Any:
    """Read the text of a variable. Lists have commas in between; members are JSON."""
    if kind == tuple[MemberConfig, ...]:
        return msgspec.json.decode(text)
    if getattr(kind, "__origin__", None) is tuple:
        return [piece for piece in (piece.strip() for piece in text.split(",")) if piece]
    if kind is bool:
        if text.strip().lower() not in _BOOLEANS:
            raise msgspec.ValidationError("true, false, 1 or 0 is expected")
        return _BOOLEANS[text.strip().lower()]
    return msgspec.convert(text, kind, strict=False)


def _typed(values: dict[str, Any]) -> Config:
    """Give every key its type. Raises: ConfigError, with every key that is of a wrong one."""
    problems: list[str] = []
    for key, kind in known_keys().items():
        if key not in values:
            continue
        if key == "oidc_allowed_algorithms":
            values[key] = _algorithms(values[key], problems)
        try:
            msgspec.convert(values[key], kind)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$")
            problems.append(f"{key}{where.rstrip('`')}: {what}")
    problems += [f"{key}: is required" for key in ("name", "data_dir") if key not in values]
    if problems:
        raise ConfigError(problems)
    try:
        return msgspec.convert(_nested(values), Config)
    except msgspec.ValidationError as error:  # such as a number in place of a whole section
        raise ConfigError([str(error).replace("`$.", "`")]) from error


def _algorithms(given: object, problems: list[str]) -> object:
    """Spell algorithms as they are spelled, each once, in the order given."""
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        return given
    unknown = sorted({name for name in given if name.lower() not in _ALGORITHMS})
    if unknown or not given:
        problems.append(
            f"oidc_allowed_algorithms: {', '.join(unknown) or 'nothing'} stands there; "
            f"one or more of {', '.join(_ALGORITHMS.values())} are expected"
        )
        return ["ES256"]  # has been said; not a second time
    return list(dict.fromkeys(_ALGORITHMS[name.lower()] for name in given))


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]}?" if close else ""
