"""What the store tests share."""

import pytest

for part in ("runs", "log", "document"):
    pytest.register_assert_rewrite(f"tests.store.contract_{part}")
