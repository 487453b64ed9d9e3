"""`hubagent install` and `hubagent uninstall`: the command line's side."""

import argparse
from pathlib import Path

from hubagent import config, install, setup
from hubagent.edges.system import System
from hubagent.errors import ConfigError
from hubagent.install import Wanted

DONE, FAILED = 0, 1


def run_install(options: argparse.Namespace) -> int:
    """Install; 1 where it is installed but cannot run yet."""
    system, path = _system(options), _config_path(options)
    settings = config.load(system.path(path))
    one = install.wanted(settings, path, options.user, install.program_path(), system.inside)
    faults = setup.check(settings) if system.is_whole else []
    can_run = install.install(one, system, faults, print, dry_run=options.dry_run)
    for service in settings.services:
        if service.release and not system.belongs_to(system.inside(service.release.root), one.user):
            print(
                f"note: releases of {service.name} are switched by {one.user}: chown -R {one.user}: {service.release.root}"
            )
    return DONE if can_run else FAILED


def run_uninstall(options: argparse.Namespace) -> int:
    """Uninstall; works without the config, from what the installation wrote down."""
    system, path = _system(options), _config_path(options)
    if not system.exists(path):  # whoever takes it away need not know where its config was
        path = install.config_of_unit(system) or path
    one = install.noted(system, path) or _from_config(system, path) or install.unknown(path)
    install.uninstall(one, system, print, purge=options.purge, dry_run=options.dry_run)
    return DONE


def _from_config(system: System, path: str) -> Wanted | None:
    try:
        return install.wanted(
            config.load(system.path(path)), path, install.DEFAULT_USER, install.program_path(), system.inside
        )
    except ConfigError:
        return None


def _system(options: argparse.Namespace) -> System:
    return System(Path(options.prefix).absolute())


def _config_path(options: argparse.Namespace) -> str:
    """As the machine names it: a unit does not run in this directory."""
    return str(Path(options.config).absolute())
