import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from broker_client import Broker  # noqa: E402


@pytest.fixture
def broker():
    with Broker() as made:
        yield made
