"""wakeline deploys an application to Linux machines in order, over SSH, when not every machine is awake."""

__version__ = "0.1.0"
