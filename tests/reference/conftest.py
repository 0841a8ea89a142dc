"""A profile of hypothesis for the seeded bugs: the same examples every time, and no search for the smallest one."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("bugs", phases=[Phase.explicit, Phase.generate], database=None, derandomize=True)
