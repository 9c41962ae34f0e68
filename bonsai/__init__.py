"""Bonsai: grow tiny recurrent networks, prune them to a readable graph, and prove it right.

The functions `prove` and `check` stand here in the place of the modules that they come from; what
else those hold is imported as `from bonsai.prove import Certificate`.
"""

from bonsai.check import check
from bonsai.graph import Graph
from bonsai.machine import Machine
from bonsai.prove import prove

__all__ = ["Graph", "Machine", "check", "prove"]
