"""What must be known before any test module is imported."""

import pytest

# The contract of stores is imported by tests in several folders; its assertions must explain themselves in all of them.
for part in ("runs", "log", "document"):
    pytest.register_assert_rewrite(f"tests.store.contract_{part}")
