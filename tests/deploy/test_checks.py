"""What is checked before a promote writes anything."""

from __future__ import annotations

import pytest

from tfsdeploy.deploy.checks import check_canary
from tfsdeploy.errors import UsageError
from tfsdeploy.release.transitions import add


def test_a_canary_is_another_version() -> None:
    check_canary(add(7, None), 7, (100,))
    check_canary(add(7, None), 8, (10,))
    with pytest.raises(UsageError, match="is the main version already"):
        check_canary(add(7, None), 7, (10,))
