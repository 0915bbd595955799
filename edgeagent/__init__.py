"""edgeagent: something happens on the device, a local model decides, a confined tool acts, and it is on the record."""

__version__ = "0.1.0"
