"""Operations that another proof than a Felix token opens, and tokens that a context keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
import msgspec
import yaml

from felix.cli.admin import contexts
from felix.cli.admin.client import Reply, Request
from felix.cli.admin.command import Command, Proof
from felix.cli.admin.errors import Usage
from felix.cli.admin.options import CONTEXT_VARIABLE, context_of, name_of_context, read_token
from felix.cli.admin.units import write_duration
from felix.http.access import BOOTSTRAP_HEADER

F = TypeVar("F", bound=Callable[..., Any])

BODY_BYTES_MAX: Final = 1 << 20
_OPTIONS: Final[dict[Proof, tuple[str, str, str]]] = {
    "upstream": (
        "--upstream-token-file",
        "FELIX_ADMIN_UPSTREAM_TOKEN_FILE",
        "File with the token of the identity provider; - is stdin.",
    ),
    "refresh": (
        "--refresh-token-file",
        "FELIX_ADMIN_REFRESH_TOKEN_FILE",
        "File with the refresh token; - is stdin.  [default: the one that the context keeps]",
    ),
    "bootstrap": (
        "--bootstrap-token-file",
        "FELIX_ADMIN_BOOTSTRAP_TOKEN_FILE",
        "File with the token of the bootstrap listener; - is stdin.",
    ),
}


def with_options(command: F, line: Command) -> F:
    """Give a command the options that its proof needs."""
    if line.proof in _OPTIONS:
        flag, variable, help_text = _OPTIONS[line.proof]
        command = click.option(
            flag,
            "proof_file",
            metavar="FILE",
            envvar=variable,
            help=f"{help_text}  [${variable}]",
        )(command)
    if line.saves:
        command = click.option(
            "--save", is_flag=True, help="Keep it in the context, and do not show it."
        )(command)
    if line.body_from_file:
        command = click.option(
            "-f",
            "--file",
            "body_file",
            type=click.Path(dir_okay=False, allow_dash=True),
            required=True,
            help="The body of the request, in YAML or JSON; - is stdin.",
        )(command)
    return command


def proven(line: Command, request: Request, flags: dict[str, Any]) -> Request:
    """Put the proof into a request, and the body that stands in a file. Raises: Usage."""
    if line.body_from_file:
        request = msgspec.structs.replace(request, body=_document(flags["body_file"]))
    if line.proof == "token":
        return request
    path = flags["proof_file"]
    flag = _OPTIONS[line.proof][0]
    token = read_token(path, path) if path else ""
    if not token and line.proof == "refresh":
        token = context_of(click.get_current_context()).refresh_token
    if not token:
        raise Usage(f"missing: {flag}", f"felix-admin {line.name} {flag} FILE")
    headers = dict(request.headers)
    body = request.body
    match line.proof:
        case "upstream":
            headers["Authorization"] = f"Bearer {token}"
        case "bootstrap":
            headers[BOOTSTRAP_HEADER] = token
        case "refresh":
            body = {**body, "refresh_token": token}
    return msgspec.structs.replace(request, headers=headers, body=body, with_token=False)


def saved(line: Command, reply: Reply, flags: dict[str, Any]) -> bool:
    """Keep a token in the context, if that is asked for. Raises: Usage."""
    if not line.saves or not flags["save"]:
        return False
    path = contexts.path_of_file()
    known = contexts.load(path)
    name = name_of_context(click.get_current_context(), known)
    kept = msgspec.structs.replace(
        known.named(name),
        token=reply.document["felix_token"],
        refresh_token=reply.document.get("refresh_token", ""),
    )
    contexts.save(path, known.with_context(name, kept))
    lasts = write_duration(reply.document["expires_in"])
    click.echo(f"context {name} keeps the token, good for {lasts}")
    return True


def check_can_save(flags: dict[str, Any]) -> None:
    """Refuse before a token is spent on nothing. Raises: Usage."""
    known = contexts.load(contexts.path_of_file())
    if flags.get("save") and not name_of_context(click.get_current_context(), known):
        raise Usage(
            "there is no context that could keep it",
            f"felix-admin context set NAME --endpoint HOST:PORT, or ${CONTEXT_VARIABLE}",
        )


def _document(path: str) -> Any:
    try:
        with click.open_file(path, encoding="utf-8") as file:
            found = yaml.safe_load(file.read(BODY_BYTES_MAX))
    except OSError as error:
        raise Usage(f"{path}: {error.strerror}", "name a file that can be read") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise Usage(f"{path} is neither YAML nor JSON", "see docs/http.md for the body") from None
    if not isinstance(found, dict):
        raise Usage(f"{path} has no members", "see docs/http.md for the body")
    return found
