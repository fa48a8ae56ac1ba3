"""The JSON Schema of `wakeline.toml` for editors: shapes from the classes, words from the annotated example."""

from __future__ import annotations

from typing import Any

from wakeline.fleet import example
from wakeline.fleet.schema import LENGTH, UNITS, File

_TABLES = {
    "": "File",
    "deploy": "DeployTable",
    "stage": "StageTable",
    "stage.machine": "MachineTable",
    "step": "StepTable",
    "service": "ServiceTable",
    "service.health": "HealthTable",
    "repository": "RepositoryTable",
    "notify": "NotifyTable",
}


def json_schema() -> dict[str, Any]:
    """Everything that an editor can know: keys, kinds, patterns, and what each key is for."""
    schema = File.model_json_schema(by_alias=True, mode="validation")
    words = example.prose()
    for path, name in _TABLES.items():
        for key, value in _properties(schema, name).items():
            value.pop("title", None)
            _as_written(value)
            if said := words.get(f"{path}.{key}".lstrip(".")):
                value["description"] = said
    return {**schema, "title": "wakeline.toml", "$schema": "https://json-schema.org/draft/2020-12/schema"}


def _as_written(value: dict[str, Any]) -> None:
    """A length of time is text in the file and seconds in the model: its default is shown as one would write it."""
    if value.get("pattern") != LENGTH:
        return
    value.pop("ge", None)  # a limit on numbers says nothing about text
    if "default" in value:
        unit = max((each for each in UNITS if value["default"] % UNITS[each] == 0), key=UNITS.__getitem__)
        value["default"] = f"{value['default'] / UNITS[unit]:g}{unit}"


def _properties(schema: dict[str, Any], name: str) -> dict[str, Any]:
    table = schema if name == "File" else schema["$defs"][name]
    found: dict[str, Any] = table["properties"]
    return found
