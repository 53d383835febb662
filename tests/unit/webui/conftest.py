import pytest

from tests.unit.webui.site import Site


@pytest.fixture
def site(tmp_path):
    """A demo house: whoever comes from this machine is let in."""
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def locked(tmp_path):
    """A house that wants a login."""
    site = Site(tmp_path, is_demo=False)
    yield site
    site.close()
