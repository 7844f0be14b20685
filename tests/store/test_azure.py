"""Who is not let into Azure, on its emulator."""

from __future__ import annotations

import base64

import pytest

from tests.azure import Azure
from tfsdeploy.store.answers import StoreClosed
from tfsdeploy.store.objects import ObjectStore


def test_who_is_not_let_in(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    url = f"{azure.make_bucket('closed')}/prod"
    with pytest.raises(StoreClosed, match="there is no such bucket"):
        ObjectStore(azure.open("az://nowhere/prod")).record("m", 1)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"another one").decode())
    with pytest.raises(StoreClosed, match=r"denies this|does not belong") as refused:
        ObjectStore(azure.open(url)).record("m", 1)
    assert azure.environment["AZURE_STORAGE_ACCOUNT_KEY"] not in str(refused.value)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(StoreClosed, match=r"no account is named.*AZURE_STORAGE_ACCOUNT_NAME"):
        azure.open(url)
