"""What is checked before a promote writes anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tfsdeploy.deploy.checks import check_canary, check_memory
from tfsdeploy.errors import Refused, UsageError
from tfsdeploy.release.transitions import add
from tfsdeploy.store.record import File, Record
from tfsdeploy.targets.base import Settings

SETTINGS = Settings("shop", "local", "/f", "file:///m", {}, 3, 2, 1)
RECORD = Record("ranker", 8, "sha256:0", (File("saved_model.pb", 100 << 20, "0"),), "now", "a@b")


@pytest.mark.parametrize(("available", "fits"), [(361 << 20, True), (359 << 20, False), (None, True)])
def test_memory_for_all_replicas_of_this_machine(available: int | None, fits: bool) -> None:
    if fits:
        check_memory(RECORD, add(7, None), SETTINGS, available)
    else:
        with pytest.raises(Refused, match="needs about 360 MiB of memory on 3 replicas of this machine"):
            check_memory(RECORD, add(7, None), SETTINGS, available)


def test_what_is_loaded_or_elsewhere_needs_no_memory_here() -> None:
    check_memory(RECORD, add(8, None), SETTINGS, 0)
    check_memory(RECORD, add(7, None), replace(SETTINGS, target="kubernetes"), 0)


def test_a_canary_is_another_version() -> None:
    check_canary(add(7, None), 7, (100,))
    check_canary(add(7, None), 8, (10,))
    with pytest.raises(UsageError, match="is the main version already"):
        check_canary(add(7, None), 7, (10,))
