"""A console over a scripted link and a clock that stands still."""

import pytest

from console import themes
from console.app import Appearance, Hubdeck
from tests.fakes.clock import FakeClock
from tests.fakes.console_link import FakeLink, small_fleet


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def link():
    one = FakeLink()
    one.say(*small_fleet())
    return one


@pytest.fixture
def make_app(link, clock):
    def make(theme="okabe-ito", *, is_ascii=False, is_unlocked=True, **more):
        appearance = Appearance(themes.load(themes.find(theme)), is_ascii)
        return Hubdeck(link, clock, appearance, is_unlocked=is_unlocked, **more)

    return make
