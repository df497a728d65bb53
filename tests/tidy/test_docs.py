"""The pages: their links lead somewhere, and the commands on them are commands that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from felix.cli.admin import main as admin
from felix.cli.server import main as controlplane

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]
OURS: Final = {"felix-admin": admin, "felix-controlplane": controlplane}
OTHERS: Final = frozenset(
    {
        *(".", "cd", "cp", "curl", "df", "echo", "export", "kill", "make", "mkdir", "wait"),
        *("git", "helm", "kubectl", "openssl", "python", "python3", ".venv/bin/python"),
        *("as_bob", "call", "exchange"),
    }
)
"""What a page may have typed beside our programs; the last ones are made on the page itself."""
SHELL: Final = re.compile(r"^(for|done|do|until|while|if|fi|then|\(|\w+\(\)|\w+=)")
"""How a line begins that is of the shell."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    """Drop what is shown as it is, where a bracket is no link."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors_of(page: Path) -> set[str]:
    """List where a link into a page may lead, by the rule of GitHub."""
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", outside, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        same = sum(1 for one in found if re.fullmatch(rf"{re.escape(plain)}(-\d+)?", one))
        found.add(f"{plain}-{same}" if plain in found else plain)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_or_a_heading_leads_there(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        leads = target.is_relative_to(ROOT) and target.exists()
        if not leads or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


def commands_of(page: Path) -> Iterator[str]:
    """List what is to be typed, each command on one line, without what is written into files."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        typed = re.sub(r"(<<(\w+)\n).*?^\2$", "", block, flags=re.MULTILINE | re.DOTALL)
        for line in re.sub(r" *\\\n *", " ", typed).splitlines():
            command = line.partition(" #")[0].strip()
            if command:
                yield command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_begins_with_a_program_that_is_there_or_well_known(page: Path) -> None:
    allowed = OTHERS | OURS.keys()
    strange = [
        line
        for line in commands_of(page)
        if not SHELL.match(line) and line.split()[0] not in allowed
    ]
    assert not strange


def ours_in(page: Path) -> Iterator[list[str]]:
    """List the command lines of our programs, split into words as a shell does."""
    for line in commands_of(page):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not re.fullmatch(r"[();<>|&]+", word):
                words.append(word)
                continue
            if words and words[0] in OURS:
                yield words
            words = ["where it goes"] if word[0] in "<>" else []


def why_not(words: list[str]) -> str:
    """Say what is wrong with a command line, by the commands themselves; nothing is run."""
    try:
        context, rest = resolved(words)
        command = context.command
        values, left, order = command.make_parser(context).parse_args(args=list(rest))
        if "--help" in rest or "-h" in rest:
            return ""
        for parameter in click.core.iter_params_for_processing(order, command.get_params(context)):
            if isinstance(parameter.type, click.Path | click.File):
                continue  # the file is not here
            _, left = parameter.handle_parse_result(context, values, left)
    except click.ClickException as error:
        return error.format_message()
    return f"nobody takes {left}" if left else ""


def resolved(words: list[str]) -> tuple[click.Context, list[str]]:
    """Find the command that the words name, and what else they are. Raises: ClickException."""
    program, *rest = words
    context = click.Context(OURS[program], info_name=program)
    while isinstance(context.command, click.Group) and rest and not rest[0].startswith("-"):
        name, found, rest = context.command.resolve_command(context, rest)
        assert found is not None
        context = click.Context(found, parent=context, info_name=name)
    return context, rest


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_ours_is_one_that_the_program_understands(page: Path) -> None:
    wrong = [(shlex.join(words), said) for words in ours_in(page) if (said := why_not(words))]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_ours_in_a_sentence_is_there_with_its_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for code in re.findall(rf"`((?:{'|'.join(OURS)}) [a-z][^`]*)`", text):
        words = re.sub(r"(\w)[|].*", r"\1", code.replace("\n", " ")).split()
        context, rest = resolved(words)
        known = {name for one in context.command.get_params(context) for name in one.opts}
        unknown = {word for word in rest if word.startswith("--")} - known
        assert not unknown, code


def test_a_command_line_that_is_wrong_is_found() -> None:
    assert why_not(["felix-admin", "cluster", "stauts"])
    assert why_not(["felix-admin", "cluster", "status", "--loud"])
    assert why_not(["felix-admin", "cluster", "remove"])
    assert why_not(["felix-controlplane", "dev-idp", "--port", "x", "--data-dir", "y"])
    assert not why_not(["felix-admin", "cluster", "status", "-o", "json"])


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]
    assert [name_of(page) for page in pages if f"]({name_of(page)})" not in readme] == []


def test_commands_are_found_where_pages_have_them() -> None:
    assert sum(1 for page in PAGES for _ in ours_in(page)) > 30
