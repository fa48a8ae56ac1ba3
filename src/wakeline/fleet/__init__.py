"""The fleet file: what a user writes in `wakeline.toml`, read and judged as a whole."""

from wakeline.fleet.reading import FleetFile, FleetFileError, Problem, load
from wakeline.fleet.schema import json_schema

__all__ = ["FleetFile", "FleetFileError", "Problem", "json_schema", "load"]
