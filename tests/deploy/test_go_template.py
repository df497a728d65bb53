"""The renderer of our tests: what it writes, and what it refuses.

What is expected here was written by Helm 3.18 from the same templates.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.go_functions import TemplateError
from tests.deploy.go_template import Templates

VALUES: dict[str, Any] = {
    "name": "felix",
    "none": "",
    "list": ["a", "b"],
    "map": {"b": "1", "a": True},
    "ports": {"http": 8443},
}


def written(text: str) -> str:
    return Templates({"it": text}).render("it", {"Values": VALUES})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {{ .Values.name }} b", "a felix b"),
        ("a\n  {{- .Values.name -}}\n b", "afelixb"),
        ("a {{/* nothing }} */}} b", "a  b"),
        ("{{ .Values.name | quote }}", '"felix"'),
        ("{{ .Values.none | default .Values.name }}", "felix"),
        ("{{ if .Values.none }}a{{ else }}b{{ end }}", "b"),
        ("{{ with .Values.ports }}{{ .http }}{{ end }}", "8443"),
        ("{{ with .Values.none }}{{ . }}{{ end }}", ""),
        (
            "{{ range $one := .Values.list }}{{ $one }}{{ $.Values.name }} {{ end }}",
            "afelix bfelix ",
        ),
        ("{{ range $at, $one := .Values.list }}{{ $at }}{{ $one }}{{ end }}", "0a1b"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("{{ range until 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range list }}a{{ else }}b{{ end }}", "b"),
        ('{{ index .Values.ports "http" }}', "8443"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ('{{ define "d" }}<{{ . }}>{{ end }}{{ include "d" .Values.name }}', "<felix>"),
        ('{{ printf "%s:%d" .Values.name 1 }}', "felix:1"),
        ("{{ not (has 2 (list 1 3)) }}", "true"),
        ("{{ toYaml .Values.map | nindent 2 }}", '\n  a: true\n  b: "1"'),
        ("{{ toYaml .Values.list }}", "- a\n- b"),
        ('{{ hasKey .Values.map "a" }} {{ or .Values.none .Values.name }}', "true felix"),
        ('{{ .Values.name | trunc 3 | trimSuffix "l" }}', "fe"),
    ],
)
def test_a_template_is_written_as_helm_writes_it(text: str, expected: str) -> None:
    assert written(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{{ .Values.nmae }}",
        "{{ .Values.list }}",
        "{{ .Values.map }}",
        "{{ $x }}",
        "{{ $x = 1 }}",
        "{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}",
        "{{ lookup .Values.name }}",
        '{{ include "missing" . }}',
        "{{ if .Values.name }}",
        "{{ end }}",
        "{{ .Values.name",
        "{{ }}",
        "{{ .Values.name .Values.name }}",
        "{{ .Values.name | .Values.name }}",
        "{{ quote }}",
        "{{ 1000000 }}",
        '{{ fail "no" }}',
        '{{ required "no" .Values.none }}',
        '{{ printf "%d" .Values.name }}',
        "{{ range .Values.map }}{{ end }}",
        "{{ if true }}{{ else if false }}{{ end }}",
    ],
)
def test_what_is_not_known_or_not_set_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        written(text)
