"""The key files of a console: the operator's own two keys, and the fleet's public one."""

from pathlib import Path

from console.config import Settings
from console.errors import ConfigError
from hubagent.wire.signing import KeyRefused, Keys, is_public_key, parse_keys


def own_keys(path: Path) -> Keys:
    """The operator's two keys; raises ConfigError, which never shows a key."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(str(path), 0, "key_file", "a file that only you can read (chmod 600)", "looser rights")
        return parse_keys(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no text"
        raise ConfigError(str(path), 0, "key_file", "a readable key file", why) from error
    except KeyRefused as error:
        raise ConfigError(str(path), 0, "key_file", str(error), "something else") from error


def fleet_key(settings: Settings) -> str:
    """The public key that signs rosters; raises ConfigError."""
    if settings.fleet_key:
        key = settings.fleet_key
    else:
        try:
            key = Path(settings.fleet_key_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no text"
            raise ConfigError(settings.fleet_key_file, 0, "fleet_key_file", "a readable public key", why) from error
    if not is_public_key(key):
        raise ConfigError(settings.fleet_key_file or "config", 0, "fleet_key", "a public nkey (U…)", ascii(key)[:60])
    return key
