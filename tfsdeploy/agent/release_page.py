"""The release that an agent follows, for whoever finds its document gone or spoiled."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from tfsdeploy.release.model import Release, encode
from tfsdeploy.release.remembered import PATH


def release_page(followed: Callable[[], Release | None]) -> web.RouteDef:
    """What the status server is to serve: the document, or 404 while none is followed."""

    async def page(request: web.Request) -> web.Response:
        release = followed()
        if release is None:
            raise web.HTTPNotFound(text="no release is followed yet\n")
        return web.Response(text=encode(release), content_type="application/json")

    return web.get(PATH, page)
