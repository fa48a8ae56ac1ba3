"""`wakeline init`: what a repository looks like, and the fleet file that fits it."""

from wakeline.starting.looking import Repository, Unit, look
from wakeline.starting.writing import Draft, write

__all__ = ["Draft", "Repository", "Unit", "look", "write"]
