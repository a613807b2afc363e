"""What the package is made of: stubs that agree with the module, documentation, the programs it carries."""
import ast
import importlib.metadata
import inspect
import os
import pathlib
import subprocess
import sys

import atoll
from atoll import _core
from conftest import ENOUGH

HERE = pathlib.Path(atoll.__file__).parent
CLASSES = ("Message", "MessageIterator", "Loan", "ProducerCore", "ReaderCore", "BytesCore", "ClientCore")


def test_the_stubs_name_what_the_module_has():
    stubs = {
        node.name: {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        for node in ast.parse((HERE / "_core.pyi").read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert set(stubs) == set(CLASSES)
    for name in CLASSES:
        real = {attribute for attribute in vars(getattr(_core, name)) if not attribute.startswith("__")}
        stubbed = {attribute for attribute in stubs[name] if not attribute.startswith("__")}
        assert stubbed == real, name


def test_it_is_typed():
    assert (HERE / "py.typed").exists()


def test_everything_public_is_documented():
    for name in ("Bytes", "Client", "Consumer", "Loan", "Message", "Observer", "Producer", "connect"):
        thing = getattr(atoll, name)
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing):
            for attribute in dir(thing):
                if not attribute.startswith("_"):
                    assert inspect.getdoc(getattr(thing, attribute)), f"{name}.{attribute}"


def test_every_error_of_the_contract_is_there():
    for code, error in atoll.errors.BY_CODE.items():
        assert getattr(atoll, error.__name__) is error and error.code == code and issubclass(error, atoll.AtollError)


def test_its_version_is_that_of_the_library():
    assert importlib.metadata.version("atoll-ipc") == atoll.__version__


def test_importing_it_does_not_import_numpy():
    code = "import atoll, sys; assert 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=ENOUGH).returncode == 0


def test_it_carries_the_broker_and_the_command():
    for program in ("atolld", "atoll"):
        path = HERE / "bin" / program
        assert os.access(path, os.X_OK)
        assert subprocess.run([path, "--help"], capture_output=True, timeout=ENOUGH).returncode == 0


def test_a_program_that_ends_without_closing_says_nothing(name):
    code = (
        "import atoll\n"
        "client = atoll.connect()\n"
        f"client.create({name!r})\n"
        f"producer, consumer = client.open_producer({name!r}), client.open_consumer({name!r})\n"
        "producer.send('x'); message = consumer.receive(); view = message.view\n"
    )
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=ENOUGH)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
