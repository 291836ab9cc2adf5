"""Hooks: what the site has from outside of docs/: README.md as its first page, and the examples."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
_SHIM = "https://unpkg.com/iframe-worker/shim"  # of the theme, in place of which is worker.js


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add README.md, with links and pictures from within docs/, and the examples."""
    readme = (_ROOT / "README.md").read_text().replace("](docs/", "](").replace('="docs/', '="')
    files.append(File.generated(config, "index.md", content=readme))
    for path in sorted((_ROOT / "examples").glob("*.py")):
        files.append(File.generated(config, f"examples/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to the examples lead to where they are in the site."""
    del page, config, files
    return markdown.replace("](../examples/", "](examples/")


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Let the search of pages that are opened as files ask no server."""
    del config
    return output.replace(_SHIM, "../" * page.url.count("/") + "worker.js")


def on_post_template(output: str, *, template_name: str, config: MkDocsConfig) -> str:
    """Do the same for pages such as that of a missing one, which lie at the top."""
    del template_name, config
    return output.replace(_SHIM, "worker.js")
