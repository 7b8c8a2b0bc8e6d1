"""What all tests share: the depth of Hypothesis. Fixtures live beside the tests that use them."""

import os

from hypothesis import HealthCheck, settings

# No deadline: the machines of the CI are shared, and a slow example is not a wrong one. What must be fast has a benchmark.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", parent=settings.get_profile("default"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
