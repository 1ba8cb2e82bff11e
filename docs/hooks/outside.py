"""Takes what pages show from outside docs/ into the site, and turns links to folders of the repository into text.

The pages are read in the repository too, where these links work as they stand.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SHOWN = re.compile(r"\]\(\.\./(benchmarks/results/[^)\s]+)\)")
FOLDER = re.compile(r"\[([^\]]+)\]\(\.\./[a-z]+/?\)")


def on_files(files: Files, *, config: Any) -> Files:
    """Adds the files outside docs/ that pages show."""
    root = Path(config.config_file_path).parent
    pages = [file.content_string for file in files if file.is_documentation_page()]
    for name in {name for page in pages for name in SHOWN.findall(page)}:
        files.append(File.generated(config, name, abs_src_path=str(root / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Points links at those files, and leaves of links to folders their text."""
    return FOLDER.sub(r"\1", SHOWN.sub(r"](\1)", markdown))
