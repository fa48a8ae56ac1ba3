"""The fleet file: what a user writes in `wakeline.toml`, read and judged as a whole."""

from wakeline.fleet.editors import json_schema
from wakeline.fleet.reading import FleetFile, FleetFileError, Problem, load

__all__ = ["FleetFile", "FleetFileError", "Problem", "json_schema", "load"]
