"""The site: Sphinx reads Markdown by MyST. Nothing is fetched, neither when it is built nor when it is read."""

import os
import re
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

import ncrun

project = "ncrun"
copyright = "The ncrun authors"
version = release = ncrun.__version__
extensions = ["myst_parser"]
exclude_patterns = ["_static"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
highlight_language = "text"
html_theme = "furo"
html_title = "ncrun"
html_static_path = ["_static"]
html_css_files = ["ncrun.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
html_math_renderer = "mathml"


ROOT = Path(__file__).resolve().parents[1]
# Pages that lie elsewhere in the repository: what stands in docs/ only names them.
ELSEWHERE = {"results": "results/README.md", "changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
PAGES = {ROOT / file: f"{page}.md" for page, file in ELSEWHERE.items()} | {ROOT / "README.md": "index.md"}
# Pages that show whole files one after the other.
GATHERED = {"measurements": "results/bench/*.md", "tables": "results/*/table-*.md"}
# What the converter writes, and what browsers draw as TeX would.
MENDED = (
    (r"<mo>(&#x02016;|&#x0007C;)</mo>", r'<mo lspace="0em" rspace="0em" stretchy="false">\1</mo>'),  # bars of a norm
    (r"<mo>&#x0002F;</mo>", r'<mo lspace="0em" rspace="0em">/</mo>'),
    # A sign, not a difference.
    (r"(<mo[^>]*>&#x0(?:003D|2265|2264|002C);</mo>)<mo>(?=&#x02212;)", r'\1<mo form="prefix">'),
    (r"(<mi>(?:log|cos|det)</mi>)(?!<mo )", r'\1<mspace width="0.17em" />'),
    (r'<mo>(\w+)</mo>(?=<mo stretchy="false">&#x00028;)', r'<mo rspace="0em">\1</mo>'),  # tr and its bracket
    (r'<mo stretchy="true">&#x000AF;</mo>', '<mo stretchy="false">&#x0203E;</mo>'),  # a bar that is seen
    (r'<mn mathvariant="bold">1</mn>', "<mn>&#x1D7CF;</mn>"),
    (r'<mi mathvariant="script">L</mi>', "<mi>&#x02112;</mi>"),
    (r'<mi mathvariant="script">D</mi>', "<mi>&#x1D49F;</mi>"),
)
# Commands and environments that the converter passes on as they are, and alphabets that browsers do not draw.
UNKNOWN = re.compile(r"\\|<mi>&</mi>|mathvariant=\"(?!normal)")
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    """What the repository's own view links to by its place, the site links to by its page."""
    file = ROOT / ELSEWHERE.get(docname, f"docs/{docname}.md")
    if docname in ELSEWHERE:
        source[0] = file.read_text(encoding="utf-8")
    if docname in GATHERED:
        files = [(each, _section(each)) for each in _gathered(docname)]
        source[0] += "".join(f"\n## {title}\n\n{_without_title(each)}\n" for each, title in files)
    here = (ROOT / "docs" / docname).parent
    source[0] = LINK.sub(lambda match: _link(match, file.parent, here), source[0])


def _link(match: re.Match[str], folder: Path, here: Path) -> str:
    """folder: of the file that links. here: of its page."""
    opening, named, anchor, closing = match[1], match[2], match[3] or "", match[4]
    target = (folder / named).resolve()
    if not target.exists():
        return match[0]  # what is missing is told by the build
    page = next((page for page in GATHERED if target in _gathered(page)), None)
    if page is not None:
        target, anchor = ROOT / "docs" / f"{page}.md", f"#{_section(target)}"
    elif target in PAGES:
        target = ROOT / "docs" / PAGES[target]
    elif target.is_dir():
        target = ROOT / "docs" / "results.md"
    return f"{opening}{os.path.relpath(target, here)}{anchor}{closing}"


def _gathered(page: str) -> list[Path]:
    return sorted(ROOT.glob(GATHERED[page]))


def _without_title(file: Path) -> str:
    """Its content, whose own title would be a second one of the page."""
    return re.sub(r"\A# .*\n", "", file.read_text(encoding="utf-8"))


def _section(file: Path) -> str:
    """Such as speed, or dang2023-table-cpu."""
    return "-".join(file.with_suffix("").parts[len(ROOT.parts) + 1 :]).removeprefix("bench-")


def _visit_math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _visit_displayed(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{_mathml(node, "block")}</div>')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, display: str) -> str:
    """A formula that browsers would not draw as it is meant is a warning."""
    drawn = convert(node.astext(), display=display)
    for written, mended in MENDED:
        drawn = re.sub(written, mended, drawn)
    if UNKNOWN.search(drawn):
        logging.getLogger(__name__).warning("a formula cannot be drawn: %s", node.astext(), location=node)
    return drawn


def setup(app: Sphinx) -> None:
    """Links as the site has them. Formulas as MathML, which browsers draw by themselves: no script from anywhere."""
    app.connect("source-read", _read)
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_displayed, None))
