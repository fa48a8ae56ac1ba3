"""The reference, made from code: `./dev docs` writes these pages into docs/reference/, which git does not keep.

They are read from the very classes, options and tables that wakeline runs on, so they cannot say anything else.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from wakeline.agent import environment
from wakeline.cli.main import cli
from wakeline.cli.result import Result
from wakeline.errors import MEANING
from wakeline.fleet import example, json_schema


def write(folder: Path) -> None:
    """Write every page. Safe twice."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (folder / f"{name}.md").write_text("\n".join(page()) + "\n", encoding="utf-8")


def _fleet_file() -> Iterator[str]:
    yield "# wakeline.toml"
    yield "\nEvery key, from the example that `wakeline docs` prints and that the tests load.\n"
    for topic, text in example.topics().items():
        head, *rest = text.splitlines()
        yield f"## {topic}\n"
        yield f"{head.partition(' == ')[2].partition(' == ')[2]}\n"
        yield from ["```toml", *_without_blank_ends(rest), "```\n"]
    yield "## All keys\n"
    yield from _keys()


def _without_blank_ends(lines: list[str]) -> list[str]:
    text = "\n".join(lines).strip("\n")
    return text.removeprefix("#\n").splitlines()


def _keys() -> Iterator[str]:
    schema, words = json_schema(), example.prose()
    yield "| key | kind | default | what it is for |"
    yield "|---|---|---|---|"
    for path, value in _walk(schema, schema, ""):
        default = json.dumps(value["default"]) if value.get("default") not in (None, [], "") else ""
        said = words.get(path, value.get("description", "")).replace("|", "\\|")
        yield f"| `{path}` | {_kind(value)} | {f'`{default}`' if default else ''} | {said} |"


def _walk(schema: dict[str, Any], table: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in table.get("properties", {}).items():
        inner = _table_of(schema, value)
        if inner is None:
            yield prefix + key, value
        else:
            yield from _walk(schema, inner, f"{prefix}{key}.")


def _table_of(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any] | None:
    """The table that a key holds, or a list of them."""
    for each in (value, value.get("items", {}), *value.get("anyOf", [])):
        if "$ref" in each:
            found: dict[str, Any] = schema["$defs"][each["$ref"].rpartition("/")[2]]
            return found
    return None


def _kind(value: dict[str, Any]) -> str:
    if "enum" in value:
        return " or ".join(f"`{each}`" for each in value["enum"])
    kinds = [each.get("type", "") for each in value.get("anyOf", [value]) if each.get("type") != "null"]
    kind = " or ".join(dict.fromkeys(kinds)) or "text"
    return {"string": "text", "array": "list", "boolean": "true or false", "integer": "number"}.get(kind, kind)


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield from _of_group(cli, "wakeline")


def _of_group(group: click.Group, name: str) -> Iterator[str]:
    for verb, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _of_group(command, f"{name} {verb}")
        else:
            yield from _of_command(command, f"{name} {verb}")


def _of_command(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    yield f"## {name}\n"
    yield f"`{command.get_usage(context).removeprefix('Usage: ')}`\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    options = [record for each in command.params if (record := each.get_help_record(context))]
    if options:
        yield "| option | |"
        yield "|---|---|"
        yield from (f"| `{option}` | {text} |".replace("|", "|") for option, text in options)
        yield ""


def _exit_codes() -> Iterator[str]:
    yield "# Exit codes\n"
    yield "| exit | means |"
    yield "|---|---|"
    yield from (f"| {int(code)} | {meaning} |" for code, meaning in MEANING.items())


def _steps() -> Iterator[str]:
    yield "# What a step sees\n"
    yield inspect.cleandoc(environment.__doc__ or "")


def _json() -> Iterator[str]:
    yield "# JSON\n"
    yield "Everything that reads has `--json`: one envelope on stdout, whatever the verb; `data` is the verb's own.\n"
    shown = Result("status", {"release": 7}, warnings=["uat is asleep"]).envelope()
    yield from ["```json", *json.dumps(shown, indent=2).splitlines(), "```\n"]
    yield "`wakeline` is the envelope's version. `status` is `success`, `partial` (done, with warnings) or `error`."


PAGES = {
    "wakeline-toml": _fleet_file,
    "commands": _commands,
    "steps": _steps,
    "exit-codes": _exit_codes,
    "json": _json,
}
