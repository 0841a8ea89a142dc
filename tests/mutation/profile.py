"""A plugin for pytest: hypothesis takes the same examples every time, and seeks no smallest one when one fails."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("bugs", phases=[Phase.explicit, Phase.generate], database=None, derandomize=True)
