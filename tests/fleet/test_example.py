"""The annotated example is the documentation: it must load, and it must have every key there is."""

from __future__ import annotations

import jsonschema
import pytest
import tomllib
from pydantic import BaseModel

from wakeline.fleet import example, json_schema, load
from wakeline.fleet.reading import _tables
from wakeline.fleet.schema import File


def test_it_loads():
    file = load(example.text())
    assert [stage.name for stage in file.fleet.stages] == ["scheduler", "frontend"]


def keys(table: type[BaseModel], where: str = "") -> list[str]:
    found = []
    for name, field in table.model_fields.items():
        path = f"{where}{field.alias or name}"
        inner = list(_tables(field.annotation))
        found += [each for one in inner for each in keys(one, f"{path}.")] if inner else [path]
    return found


def written(data, where="") -> set[str]:
    if isinstance(data, list):
        return {each for one in data for each in written(one, where)}
    if isinstance(data, dict):
        return {each for key, value in data.items() for each in written(value, f"{where}.{key}" if where else key)} | {
            f"{where}.{key}" if where else key for key in data
        }
    return set()


@pytest.mark.parametrize("key", keys(File))
def test_every_key_is_in_it(key):
    assert key in written(tomllib.loads(example.text()))


@pytest.mark.parametrize("key", keys(File))
def test_every_key_is_explained(key):
    assert len(example.prose().get(key, "")) > 10


def test_it_explains_no_key_that_there_is_not():
    assert set(example.prose()) <= set(keys(File))


def test_editors_show_what_each_key_is_for():
    schema = json_schema()
    tables = {"": schema, **schema["$defs"]}
    shown = [key for table in tables.values() for key in table["properties"].values() if "description" in key]
    assert len(shown) == len(keys(File))


def test_editors_show_lengths_of_time_as_they_are_written():
    key = json_schema()["$defs"]["MachineTable"]["properties"]["max_behind"]
    assert key["default"] == "14d"
    jsonschema.validate(key["default"], key)
    with pytest.raises(jsonschema.ValidationError, match="soon"):
        jsonschema.validate("soon", key)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_it_fits_the_schema_that_editors_use():
    jsonschema.validate(tomllib.loads(example.text()), json_schema())


def test_the_schema_refuses_a_misspelt_key():
    data = {**tomllib.loads(example.text()), "stages": []}
    with pytest.raises(jsonschema.ValidationError, match="stages"):
        jsonschema.validate(data, json_schema())


def test_its_topics_together_are_the_whole():
    assert "".join("".join(example.topics().values()).split()) == "".join(example.text().split())
