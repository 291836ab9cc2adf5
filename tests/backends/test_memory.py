"""Memory does what every backend must."""

from __future__ import annotations

import pytest

from memoflow.backends import Memory
from tests.contracts import BackendContract


class TestMemory(BackendContract):
    @pytest.fixture
    def backend(self) -> Memory:
        return Memory()
