"""The interactive documentation at /docs: Swagger UI, whose files are part of BentoML's package.

Nothing is loaded from anywhere else, so the page also works offline; BentoML's own page loads a tag manager.
Addresses are relative: a proxy may add a prefix.
"""

from pathlib import Path
from typing import Final

import bentoml
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

PATH: Final = "/docs"
SWAGGER_UI: Final = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
STYLE, SCRIPT, ICON = "swagger-ui.css", "swagger-ui-bundle.js", "favicon-light-32x32.png"
START: Final = "start.js"
OPEN_PATHS: Final = frozenset({"/", PATH, *(f"{PATH}/{name}" for name in (STYLE, SCRIPT, ICON, START))})
"""Need no key: they hold no data."""

PAGE: Final = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>fashion_mnist</title>
<link rel="icon" href="docs/{ICON}">
<link rel="stylesheet" href="docs/{STYLE}">
<div id="page">This page needs JavaScript; the document is at <a href="docs.json">docs.json</a>.</div>
<script src="docs/{SCRIPT}"></script>
<script src="docs/{START}"></script>
</html>
"""
START_SCRIPT: Final = """SwaggerUIBundle({
  url: "docs.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    request.headers["X-Requested-With"] = "swagger-ui";
    return request;
  },
});
"""
HEADERS: Final = {
    # Swagger UI writes style attributes, and its icons are data URLs
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
CACHED: Final = {"Cache-Control": "public, max-age=3600"}


def routes() -> list[BaseRoute]:
    """Return the routes of the page and its assets, and of `/`, which leads there."""
    return [
        Route("/", _lead, name="index"),
        Route(PATH, _page, name="docs"),
        Route(f"{PATH}/{START}", _start_script, name="docs-start"),
        *(Route(f"{PATH}/{name}", _asset, name=f"docs-{name}") for name in (STYLE, SCRIPT, ICON)),
    ]


async def _lead(request: Request) -> Response:
    return Response(status_code=307, headers={"Location": PATH.lstrip("/")})


async def _page(request: Request) -> Response:
    return Response(PAGE, media_type="text/html", headers=HEADERS)


async def _start_script(request: Request) -> Response:
    return Response(START_SCRIPT, media_type="text/javascript", headers=CACHED)


async def _asset(request: Request) -> Response:
    name = request.scope["path"].rpartition("/")[2]  # one of the routed names
    return FileResponse(SWAGGER_UI / name, headers=CACHED)
