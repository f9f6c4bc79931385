"""The user's folders, in which Hydra looks for groups besides ncrun's own.

It is here because Hydra loads plugins only from this namespace.
"""

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigLoadError, ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ncrun.config.doors import LARGEST_FILE, check_file
from ncrun.config.folders import OWN


class OwnFiles(FileConfigSource):
    """A user's folder, whose files are checked before Hydra reads them."""

    @staticmethod
    def scheme() -> str:
        return "own"

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise ConfigLoadError(f"{path}: cannot be read ({error.strerror})") from error
        check_file(str(path), config_path, content)
        return super().load_config(config_path)


class OwnFolders(SearchPathPlugin):
    """Appends them, so that ncrun's own choices come first."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in OWN:
            search_path.append(provider="ncrun", path=f"own://{folder}")
