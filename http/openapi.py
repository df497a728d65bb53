"""The OpenAPI document, made from the route table and the records it names."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

import falcon
import msgspec

from felix.http.access import BOOTSTRAP_HEADER, Access
from felix.http.bodies import INTEGER_MAX
from felix.http.errors import STATUSES_WITH_RETRY, Envelope
from felix.http.route import Door, Parameter

OPENAPI_PATH: Final = "/v1/openapi.json"
_REF: Final = "#/components/schemas/{name}"
_HEADER_OF_REFUSAL: Final = {
    401: ("WWW-Authenticate", "string"),
    **dict.fromkeys(STATUSES_WITH_RETRY, ("Retry-After", "integer")),
}
_BYTES: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_PARAMETER_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX},
}
_FIELD: Final = re.compile(r"{(\w+)}")
_SCHEMES: Final = {
    "felixToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A Felix token, from the token exchange of its tenant.",
    },
    "idpToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of an identity provider that the tenant trusts.",
    },
    "brokerPassword": {
        "type": "http",
        "scheme": "basic",
        "description": "The id of a broker, and the password of its credential.",
    },
    "bootstrapToken": {
        "type": "apiKey",
        "in": "header",
        "name": BOOTSTRAP_HEADER,
        "description": "The token in the configuration of the bootstrap listener.",
    },
}
_SECURITY: Final[dict[str, list[dict[str, list[str]]]]] = {
    "open": [],
    "caller": [{"felixToken": []}],
    "upstream": [{"idpToken": []}],
    "feed": [{"felixToken": []}, {"brokerPassword": []}],
    "bootstrap": [{"bootstrapToken": []}],
}
_BOOTSTRAP_SERVERS: Final = [
    {
        "url": "{scheme}://{address}",
        "description": "The bootstrap listener, which has an address of its own.",
        "variables": {
            "scheme": {"default": "https", "enum": ["https", "http"]},
            "address": {"default": "127.0.0.1:9095"},
        },
    }
]


def openapi(doors: tuple[Door, ...], api_version: str) -> dict[str, Any]:
    """Describe routes as OpenAPI 3.1."""
    records = {kind for door in doors for kind in _records(door) if kind}
    ordered = sorted(records, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components([*ordered, Envelope], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for door in doors:
        paths.setdefault(door.path, {})[door.method.lower()] = _operation(door)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "felix-controlplane",
            "version": api_version,
            "description": "The Felix control plane: tenants, namespaces, streams and caches, "
            "their change feeds, and the cluster itself.",
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SCHEMES},
    }


class OpenApi:
    """/v1/openapi.json"""

    def __init__(self, document: dict[str, Any]) -> None:
        self._data = msgspec.json.encode(document)

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Read."""
        resp.content_type = falcon.MEDIA_JSON
        resp.data = self._data

    on_head = on_get


def security_of(access: Access) -> list[dict[str, list[str]]]:
    """Say how a caller proves who it is: one of these ways, and none is needed without any."""
    return _SECURITY[access.kind]


def _records(door: Door) -> tuple[type[msgspec.Struct] | None, ...]:
    return (door.request, door.response, *(other.response for other in door.others))


def _operation(route: Door) -> dict[str, Any]:
    responses: dict[str, Any] = {str(route.status): _response(route)}
    if route.is_file:
        responses[str(route.status)]["content"] = _BYTES
    for other in route.others:
        content = {} if other.response is None else {"content": _content(other.response)}
        responses[str(other.status)] = _described(other.status) | content
    for status in route.all_refusals:
        responses[str(status)] = _refusal(status)
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": [
            *(_path_parameter(name) for name in _FIELD.findall(route.path)),
            *(_parameter(parameter) for parameter in route.parameters),
        ],
        "security": security_of(route.access),
        "responses": responses,
    }
    if route.access.kind == "bootstrap":
        operation["servers"] = _BOOTSTRAP_SERVERS
    if route.request is not None:
        operation["requestBody"] = {
            "required": not route.body_is_optional,
            "content": _content(route.request),
        }
    return operation


def _refusal(status: int) -> dict[str, Any]:
    refusal = {**_described(status), "content": _content(Envelope)}
    header = _HEADER_OF_REFUSAL.get(status)
    if header is not None:
        refusal["headers"] = {header[0]: {"required": True, "schema": {"type": header[1]}}}
    return refusal


def _response(route: Door) -> dict[str, Any]:
    response = _described(route.status)
    if route.response is not None:
        response["content"] = _content(route.response, is_list=route.is_list)
    return response


def _described(status: int) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase}


def _content(kind: type[msgspec.Struct], *, is_list: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": _REF.format(name=kind.__name__)}
    if is_list:
        schema = {"type": "array", "items": schema}
    return {"application/json": {"schema": schema}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": False,
        "description": parameter.summary,
        "schema": _PARAMETER_SCHEMAS[parameter.kind],
    }
