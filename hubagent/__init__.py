"""hubagent: the headless daemon on each hub."""

__version__ = "0.1.0"
