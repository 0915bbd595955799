"""Skills: folders with a SKILL.md that bring instructions and typed tools (agentskills.io, SPEC section 7).

Owns reading them, whether this machine has what they need, what they are pinned to, and how they come onto it. Nothing
in a skill is executed here: `edgeagent.tools` makes tools of what this package read, and the sandbox runs them.
"""

from edgeagent.skills.library import Installed, SkillLibrary
from edgeagent.skills.manifest import Skill, read_skill
from edgeagent.skills.sidecar import SkillTool

__all__ = ["Installed", "Skill", "SkillLibrary", "SkillTool", "read_skill"]
