"""What the documentation's hooks make of a page."""

from __future__ import annotations

import pytest
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from mkdocs.structure.pages import Page

from scripts import docs_hooks

PAGE = Page(None, File("page.md", "docs", "site", use_directory_urls=False), MkDocsConfig())


def test_a_code_block_that_is_not_run_is_shown_as_one() -> None:
    """The word for the tests is not for readers, and Markdown would make text of the block."""
    assert docs_hooks.on_page_markdown("```sh no-run\nls\n```\n", page=PAGE) == "```sh\nls\n```\n"


@pytest.mark.parametrize("block", ["```sh\nls\n", "```sh twice\nls\n```\n", "```sh\nls\n```sh\n"])
def test_a_code_block_that_would_be_shown_as_text_is_refused(block: str) -> None:
    """One that is not closed, and one whose first line Markdown does not take."""
    with pytest.raises(PluginError, match=r"page\.md: a code block"):
        docs_hooks.on_page_markdown(block, page=PAGE)
