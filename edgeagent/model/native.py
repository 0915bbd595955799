"""llama.cpp's functions as llama-cpp-python declares them, without the classes that it builds on them.

Those bring jinja2, sqlite3 and much else: 6 MB in every model host, and a good part of its start, for what is never
called. So the module of functions is imported without its package's own; who imports the package later gets all of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_PACKAGE = "llama_cpp"


def _functions() -> Any:
    found = importlib.util.find_spec(_PACKAGE)
    if _PACKAGE in sys.modules or found is None:
        return importlib.import_module(f"{_PACKAGE}.{_PACKAGE}")
    stand_in = ModuleType(_PACKAGE)
    stand_in.__path__ = list(found.submodule_search_locations or ())
    sys.modules[_PACKAGE] = stand_in
    try:
        return importlib.import_module(f"{_PACKAGE}.{_PACKAGE}")
    finally:
        del sys.modules[_PACKAGE]


llama_cpp = _functions()
