"""The pages: search, the form for the token, the API's description, and the report."""

from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from structalign.paths import REPORTS, SEARCH_PAGE
from structalign.serve.collection import Collection
from structalign.serve.files import sent

PAGE = Path(__file__).parent / "page"
LOOK = Path(__file__).parents[1] / "look.css"  # shared with the report
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
REPORT = REPORTS / "index.html"


def add_pages(app: FastAPI, collection: Collection) -> None:
    def static(name: str) -> FileResponse:
        return sent(PAGE / name, TYPES[Path(name).suffix])

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return static("index.html")

    @app.get("/login", include_in_schema=False)
    async def login(request: Request) -> HTMLResponse:
        text = (PAGE / "login.html").read_text(encoding="utf-8")
        return HTMLResponse(text.replace(" hidden", "") if "wrong" in request.query_params else text)

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> FileResponse:
        if name == LOOK.name:
            return sent(LOOK, "text/css")
        if name not in {file.name for file in PAGE.iterdir()}:
            raise HTTPException(404)
        return static(name)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return static("docs.html")

    @app.get("/report", include_in_schema=False, response_model=None)
    async def report() -> HTMLResponse | JSONResponse:
        try:
            text = (collection.index.path / REPORT).read_text(encoding="utf-8")
        except (OSError, ValueError):  # `dvc repro` removes it before it writes a new one
            return JSONResponse({"error": "there is no report here: `dvc repro` writes the report of a project."}, 404)
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'"
        return HTMLResponse(
            text.replace(f'href="{SEARCH_PAGE}"', 'href="/"'), headers={"Content-Security-Policy": policy}
        )
