"""What ends a process of ours whose chat template does not end by itself, and the words for it.

Apart from `bounded_jinja`, so that the daemon can tell without loading jinja2.
"""

from __future__ import annotations

import signal

ENDLESS = "the model's chat template renders without end"
HARD_SIGNAL = signal.SIGALRM
