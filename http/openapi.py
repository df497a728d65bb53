"""The OpenAPI document, made from the route table and the records it names."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

import falcon
import msgspec

from felix.http.errors import Envelope
from felix.http.route import ANY_REFUSALS, Parameter, Route

OPENAPI_PATH: Final = "/v1/openapi.json"
_REF: Final = "#/components/schemas/{name}"
_BYTES: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FIELD: Final = re.compile(r"{(\w+)}")


def openapi(routes: tuple[Route, ...], api_version: str) -> dict[str, Any]:
    """Describe the routes as OpenAPI 3.1."""
    records = {kind for route in routes for kind in (route.request, route.response) if kind}
    ordered = sorted(records, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components([*ordered, Envelope], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "felix-controlplane",
            "version": api_version,
            "description": "The Felix control plane: tenants, namespaces, streams and caches, "
            "their change feeds, and the cluster itself.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
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


def _operation(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {str(route.status): _response(route)}
    if route.is_file:
        responses[str(route.status)]["content"] = _BYTES
    for status in sorted({*route.refusals, *ANY_REFUSALS}):
        responses[str(status)] = {**_described(status), "content": _content(Envelope)}
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": [
            *(_path_parameter(name) for name in _FIELD.findall(route.path)),
            *(_parameter(parameter) for parameter in route.parameters),
        ],
        "responses": responses,
    }
    if route.request is not None:
        operation["requestBody"] = {
            "required": not route.body_is_optional,
            "content": _content(route.request),
        }
    return operation


def _response(route: Route) -> dict[str, Any]:
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
        "schema": {"type": parameter.kind},
    }
