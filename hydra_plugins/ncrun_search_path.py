"""Where Hydra looks for groups besides ncrun's own: the folders that the user named.

It lives here because Hydra takes plugins from this namespace only.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ncrun.config.folders import OWN


class OwnFolders(SearchPathPlugin):
    """Appends them, so that ncrun's own choices come first."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in OWN:
            search_path.append(provider="ncrun", path=f"file://{folder}")
