"""What the store holds, told by a replica to commands that cannot reach it themselves; it only ever reads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from aiohttp import web

from tfsdeploy.agent.replica.daemon import in_a_daemon
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.names import is_model_name, parse_version
from tfsdeploy.store.golden import file_in
from tfsdeploy.store.record import InvalidRecord, encode
from tfsdeploy.store.store import Store

T = TypeVar("T")

MOST_LOOKS = 8
"""How many looks at the store there are at a time; a mount that hangs must not collect threads."""

_LOOKS = threading.BoundedSemaphore(MOST_LOOKS)


class StoredPages:
    """Pages below ``/v1/store``: models, a model's versions, a version's commit record, description, golden requests.

    Args:
        store: where the models are, as this replica sees it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        """What the status server is to serve."""
        return [
            web.get("/v1/store", self._models),
            web.get("/v1/store/{model}", self._versions),
            web.get("/v1/store/{model}/{version}/record", self._record),
            web.get("/v1/store/{model}/{version}/description", self._description),
            web.get("/v1/store/{model}/{version}/golden", self._golden),
        ]

    async def _models(self, request: web.Request) -> web.Response:
        return await _told(lambda: {"models": self._store.models()})

    async def _versions(self, request: web.Request) -> web.Response:
        model = _model(request)
        return await _told(
            lambda: {"versions": self._store.versions(model), "uncommitted": self._store.uncommitted(model)}
        )

    async def _record(self, request: web.Request) -> web.Response:
        record = await _looked(partial(self._store.record, _model(request), _version(request)))
        if record is None:
            raise web.HTTPNotFound(text="no commit record")
        return web.Response(text=encode(record), content_type="application/json")

    async def _description(self, request: web.Request) -> web.Response:
        model, version = _model(request), _version(request)
        return await _told(lambda: _described(self._store, model, version))

    async def _golden(self, request: web.Request) -> web.Response:
        content = await _looked(partial(_golden_of, self._store, _model(request), _version(request)))
        if content is None:
            raise web.HTTPNotFound(text="no golden requests")
        return web.Response(body=content, content_type="application/json")


def _golden_of(store: Store, model: str, version: int) -> bytes | None:
    record = store.record(model, version)
    file = None if record is None else file_in(record)
    return None if record is None or file is None else store.content(record, file)


def _described(store: Store, model: str, version: int) -> dict[str, Any]:
    # Asked for by few commands; until then no agent pays for what reads a SavedModel.
    from tfsdeploy.store.savedmodel import to_plain

    return to_plain(store.describe(model, version))


async def _told(look: Callable[[], dict[str, Any]]) -> web.Response:
    return web.json_response(await _looked(look), dumps=json.dumps)


async def _looked(look: Callable[[], T]) -> T:
    """What a look at the store found; storage may be slow, or hang, and serving must not wait for it."""
    if not _LOOKS.acquire(blocking=False):
        raise web.HTTPServiceUnavailable(text=f"the store has yet to answer {MOST_LOOKS} earlier questions")

    def work() -> T:
        try:
            return look()
        finally:
            _LOOKS.release()

    try:
        return await in_a_daemon("look", work)
    except InvalidRecord as error:
        raise web.HTTPConflict(text=str(error)) from error
    except TfsdeployError as error:
        raise web.HTTPUnprocessableEntity(text=str(error)) from error


def _model(request: web.Request) -> str:
    name = request.match_info["model"]
    if not is_model_name(name):
        raise web.HTTPNotFound(text="no such model")
    return name


def _version(request: web.Request) -> int:
    number = parse_version(request.match_info["version"])
    if number is None:
        raise web.HTTPNotFound(text="no such version")
    return number
