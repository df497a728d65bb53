"""`/docs/`: the API on one page, rendered from the OpenAPI document. Loads nothing."""

from __future__ import annotations

from html import escape
from typing import Any, Final

import falcon
import msgspec

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1b1f24;background:#fff}
code,pre{font:14px/1.45 ui-monospace,monospace;background:#f3f4f6;border-radius:4px}
code{padding:.1em .3em}pre{padding:.8em;overflow:auto}
section{border-top:1px solid #d8dce1;padding:.3rem 0 1rem}h3{margin:.8rem 0 .2rem}
.GET{color:#0a5c36}.POST{color:#7a4300}.PATCH{color:#5b2a86}.DELETE{color:#9b1c1c}
table{border-collapse:collapse}td,th{text-align:left;padding:.15rem .8rem .15rem 0;
vertical-align:top}nav li{list-style:none}nav ul{padding:0}
@media(prefers-color-scheme:dark){body{color:#e6e8eb;background:#16181b}
code,pre{background:#24272c}section{border-color:#3a3f46}a{color:#8ab4f8}
.GET{color:#6fdb9f}.POST{color:#f0b266}.PATCH{color:#cfa8f5}.DELETE{color:#ff9b9b}}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class DocsRedirect:
    """/docs"""

    def on_get(self, _req: falcon.Request, _resp: falcon.Response) -> None:
        """Go to /docs/."""
        raise falcon.HTTPSeeOther("/docs/")

    on_head = on_get


class DocsPage:
    """/docs/ and what is below"""

    def __init__(self, document: dict[str, Any]) -> None:
        self._page = render(document)

    def on_get(self, _req: falcon.Request, resp: falcon.Response, page: str = "") -> None:
        """Read."""
        del page  # one page answers for all of them (contract, section 1, route 39)
        resp.content_type = falcon.MEDIA_HTML
        resp.set_header("Content-Security-Policy", _POLICY)
        resp.text = self._page

    on_head = on_get


def render(document: dict[str, Any]) -> str:
    """Render an OpenAPI document as one page of HTML."""
    info = document["info"]
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    contents = "".join(_contents_line(*operation) for operation in operations)
    sections = "".join(_operation(*operation) for operation in operations)
    schemas = "".join(
        f'<section id="{escape(name)}"><h3>{escape(name)}</h3>'
        f"<p>{escape(schema.get('description', ''))}</p><pre>{_json(schema)}</pre></section>"
        for name, schema in document["components"]["schemas"].items()
    )
    title = escape(info["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{title} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        '<p>The same as <a href="/v1/openapi.json">OpenAPI</a>.</p>'
        f"<nav><ul>{contents}</ul></nav>{sections}<h2>Records</h2>{schemas}</body></html>"
    )


def _contents_line(method: str, path: str, operation: dict[str, Any]) -> str:
    return (
        f'<li><a href="#{escape(operation["operationId"])}"><code>{_verb(method)} {escape(path)}'
        f"</code></a> {escape(operation['summary'])}</li>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{parameter['in']}</td>"
        f"<td>{escape(parameter.get('description', ''))}</td></tr>"
        for parameter in operation["parameters"]
    )
    body = operation.get("requestBody")
    request = f"<p>Body: {_record(body)}</p>" if body else ""
    responses = "".join(
        f"<tr><td>{status}</td><td>{escape(response['description'])}</td>"
        f"<td>{_record(response)}</td></tr>"
        for status, response in operation["responses"].items()
    )
    return (
        f'<section id="{escape(operation["operationId"])}">'
        f"<h3>{_verb(method)} <code>{escape(path)}</code></h3>"
        f"<p>{escape(operation['summary'])}</p>{_callers(operation['security'])}<table>{parameters}</table>{request}"
        f"<table>{responses}</table></section>"
    )


def _verb(method: str) -> str:
    return f'<span class="{method}">{method}</span>'


def _callers(security: list[dict[str, list[str]]]) -> str:
    ways = " or ".join(f"<code>{escape(name)}</code>" for way in security for name in way)
    return f"<p>Needs {ways}</p>" if ways else "<p>Open to everyone</p>"


def _record(holder: dict[str, Any]) -> str:
    content = holder.get("content")
    if content is None:
        return ""
    if "application/json" not in content:
        return "a file"
    schema = content["application/json"]["schema"]
    several = "array of " if "items" in schema else ""
    name = escape(schema.get("items", schema)["$ref"].rpartition("/")[2])
    return f'{several}<a href="#{name}">{name}</a>'


def _json(value: object) -> str:
    return escape(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
