"""Control never reaches code: what arrives from outside is a number, a name or nothing, and is never run or opened.

The sources are read for it, by their syntax trees; then a running control process is told hostile things, by real
datagrams and real requests.
"""

import ast
import asyncio
import contextlib
import http.client
import json
import time
import tomllib
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession

import performer
from performer.control.hands import Hands
from performer.params import ParamTable, base_params
from tests.control.test_hands import Peer, events_until
from tests.show.program import free_port, free_tcp_port

PACKAGE = Path(performer.__file__).parent
SOURCES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}

# Never, under whatever name. Unpickling and its kin call what the data names; the others start programs, or run files.
RUNS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *(f"{module}.{name}" for module in ("pickle", "_pickle", "marshal", "dill", "cloudpickle", "jsonpickle")
      for name in ("load", "loads", "decode", "Unpickler")),
    "shelve.open", "joblib.load", "pandas.read_pickle",
    *(f"yaml.{name}" for name in ("load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all")),
    "os.system", "os.popen", "os.posix_spawn", "os.posix_spawnp", "os.startfile", "pty.spawn",
    *(f"os.{how}{which}" for how in ("exec", "spawn") for which in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
    "runpy.run_path", "runpy.run_module", "code.interact", "code.InteractiveInterpreter", "code.InteractiveConsole",
    "importlib.util.spec_from_file_location", "importlib.__import__", "timeit.timeit",
}  # fmt: skip
CAUTIOUS = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}  # with these alone
BASES = {"generators/foreign/unpickler.py": "pickle.Unpickler"}  # of the class that reads pickles and imports nothing

# Sites that need a look: these there are, and no others.
SITES = {
    # Imports by a name: constants, what pkgutil finds in a folder of ours, and the keys of a table.
    ("control/midi.py", "importlib.import_module('rtmidi')"),
    ("control/tempo.py", "importlib.import_module('link')"),
    ("cuda.py", "importlib.import_module('cuda.bindings.runtime')"),
    ("cuda.py", "importlib.import_module('cuda.bindings.nvml')"),
    ("engines/engine.py", "importlib.import_module(f'performer.engines.{entry.name}')"),
    ("engines/tensorrt.py", "importlib.import_module(name)"),
    ("generators/family.py", "importlib.import_module(f'performer.generators.{entry.name}')"),
    # Control opens its own pages (once, before it serves), the setlist that it was started with, and the bin for a
    # library's chatter.
    ("control/midi.py", "os.open(os.devnull)"),
    ("control/saving.py", "path.read_bytes()"),
    ("control/saving.py", "write_whole(path)"),
    ("control/web.py", "Path(__file__)"),
    ("control/web.py", "PANEL.iterdir()"),
    ("control/web.py", "file.read_text()"),
    # Numbers that are divided, and no texts that are formatted.
    ("control/midi.py", "number % 32"),
    # An attribute of the show's state, by names that stand beside it.
    ("control/hands.py", "getattr(state, name)"),
}
OPENS = {"open", "io.open", "codecs.open", "performer.files.write_whole", "aiohttp.web.FileResponse"}
OPENS |= {
    f"os.{name}"
    for name in (
        *(
            "open",
            "remove",
            "unlink",
            "rename",
            "renames",
            "replace",
            "rmdir",
            "removedirs",
            "mkdir",
            "makedirs",
            "link",
        ),
        *("symlink", "truncate", "chmod", "chown", "mkfifo", "mknod", "listdir", "scandir", "walk", "chdir"),
    )
}
OPENS |= {f"pathlib.{name}" for name in ("Path", "PurePath", "PosixPath", "WindowsPath")}
ON_PATHS = {
    "open",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "touch",
    "unlink",
    "rename",
    "mkdir",
    "rmdir",
}
ON_PATHS |= {"symlink_to", "hardlink_to", "iterdir", "glob", "rglob", "add_static"}
BY_NAME = {"getattr": 1, "setattr": 1, "delattr": 1, "operator.attrgetter": 0, "operator.methodcaller": 0}
COUNTS = {"float", "int", "len", "round", "abs"}


class Scan(ast.NodeVisitor):
    """What a source does that it must not (`found`, with the line), and where it needs a look (`sites`).

    where: its path in the package. What was imported under another name is followed, and what is handed on as a value
    is found as well as what is called.
    """

    def __init__(self, source: str, *, where: str) -> None:
        self.where = where
        self.found: list[str] = []
        self.sites: set[tuple[str, str]] = set()
        self._is_control = where.startswith("control/")
        self._names: dict[str, str] = {}  # what a name in this source stands for
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for each in node.names:
                    name = each.name if each.asname else each.name.partition(".")[0]
                    self._names[each.asname or name] = name
            elif isinstance(node, ast.ImportFrom):
                for each in node.names:
                    self._names[each.asname or each.name] = f"{node.module}.{each.name}"
        self.visit(tree)

    def _note(self, node: ast.expr, what: str) -> None:
        self.found.append(f"{self.where}:{node.lineno}: {what}")

    def _look_at(self, node: ast.expr) -> None:
        self.sites.add((self.where, ast.unparse(node)))

    def _name(self, node: ast.AST) -> str:
        """`os.system`, by whatever name this source has it; empty for what has no name."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            before = self._name(node.value)
            return f"{before}.{node.attr}" if before else ""
        return ""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for each in ast.iter_child_nodes(node):
            if each not in node.bases or self._name(each) != BASES.get(self.where):
                self.visit(each)

    def visit_Name(self, node: ast.Name) -> None:
        self._mention(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._mention(node)
        self.generic_visit(node)

    def _mention(self, node: ast.Name | ast.Attribute) -> None:
        name = self._name(node)
        if name.removeprefix("builtins.") in RUNS or name in CALLS or name in ("builtins", "__builtins__"):
            self._note(node, name)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._name(node.func)
        given = {each.arg: each.value for each in node.keywords}
        if name.startswith("subprocess."):
            if None in given or len(node.args) > 8 or not _is(given.get("shell", ast.Constant(False)), False):
                self._note(node, f"{name} with a shell")
        elif name in CAUTIOUS:
            key, value = CAUTIOUS[name]
            if not _is(given.get(key), value):
                self._note(node, f"{name} without {key}={value}")
        elif name == "importlib.import_module":
            self._look_at(node)
        if self._is_control:
            self._visit_call_of_control(node, name)
        self.generic_visit(node)

    def _visit_call_of_control(self, node: ast.Call, name: str) -> None:
        method, on = (node.func.attr, node.func.value) if isinstance(node.func, ast.Attribute) else ("", node.func)
        if (method in ("format", "format_map") and not _is_text(on)) or name in ("format", "string.Template"):
            self._note(node, f"{ast.unparse(node)}: a format that is not written here")
        elif name in BY_NAME:
            if not any(map(_is_text, node.args[BY_NAME[name] :][:1])):
                self._look_at(node)
        elif name in OPENS or name.startswith(("shutil.", "tempfile.")):
            self._look_at(ast.Call(node.func, node.args[:1], []))  # which file; what is done with it is another matter
        elif method in ON_PATHS and not name.startswith("os."):
            self._look_at(ast.Call(node.func, [], []))

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if self._is_control and isinstance(node.op, ast.Mod) and not (_is_text(node.left) or _is_number(node.left)):
            self._look_at(node)
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        spec = node.format_spec
        if self._is_control and isinstance(spec, ast.JoinedStr) and not all(map(_is_text, spec.values)):
            self._note(node, f"{ast.unparse(spec)}: a format that is not written here")
        self.generic_visit(node)


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))


def _is_number(node: ast.expr) -> bool:
    """Whether this is surely no text."""
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in COUNTS
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float))


SCANS = [Scan(path.read_text(encoding="utf-8"), where=name) for name, path in SOURCES.items()]


def test_every_source_is_read():
    assert {"control/child.py", "control/saving.py", "generators/foreign/unpickler.py", "__main__.py"} <= set(SOURCES)


def test_nothing_runs_what_it_is_given():
    assert [found for scan in SCANS for found in scan.found] == []


def test_imports_by_name_and_files_of_control_are_those_that_are_known():
    assert set().union(*(scan.sites for scan in SCANS)) == SITES


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "exec(compile(text, '', 'exec'))",
        "run = eval",
        "list(map(eval, texts))",
        "__import__(text)",
        "import builtins\nbuiltins.eval(text)",
        "from builtins import exec as go\ngo(text)",
        "import builtins\ngetattr(builtins, text)",
        "__builtins__['eval'](text)",
        "import pickle\npickle.loads(data)",
        "import pickle as p\np.load(file)",
        "from pickle import loads\nloads(data)",
        "import pickle\npickle.Unpickler(file).load()",
        "import pickle\nclass Mine(pickle.Unpickler):\n    pass",
        "import marshal\nmarshal.loads(data)",
        "import shelve\nshelve.open(name)",
        "import dill\ndill.loads(data)",
        "import joblib\njoblib.load(name)",
        "import os\nos.system(text)",
        "from os import system\nsystem(text)",
        "import os as o\no.popen(text)",
        "import os\nos.execvp(text, [text])",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "import subprocess\nsubprocess.run(text, shell=wanted)",
        "import subprocess\nsubprocess.Popen(text, **more)",
        "import subprocess\nsubprocess.Popen(text, -1, None, None, None, None, None, True, True)",
        "from subprocess import check_output as ask\nask(text, shell=True)",
        "import subprocess\nsubprocess.getoutput(text)",
        "import asyncio\nasyncio.create_subprocess_shell(text)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.UnsafeLoader)",
        "import yaml\nyaml.unsafe_load(text)",
        "import torch\ntorch.load(file)",
        "import torch\ntorch.load(file, weights_only=False)",
        "import numpy as np\nnp.load(file, allow_pickle=True)",
        "import runpy\nrunpy.run_path(name)",
        "import importlib.util\nimportlib.util.spec_from_file_location(name, path)",
    ],
)
def test_what_runs_what_it_is_given_is_found(source):
    assert Scan(source, where="show.py").found


@pytest.mark.parametrize(
    "source",
    [
        "text.format(value)",
        "f'{text}'.format(value)",
        "('a' + text).format(value)",
        "text.format_map(values)",
        "format(value, text)",
        "f'{value:{text}}'",
        "import string\nstring.Template(text)",
    ],
)
def test_a_format_that_is_told_is_found_in_control(source):
    assert Scan(source, where="control/child.py").found
    assert not Scan(source, where="doctor.py").found


@pytest.mark.parametrize(
    "source",
    [
        "text % value",
        "('a' + text) % value",
        "getattr(self, text)",
        "setattr(self, text, value)",
        "import operator\noperator.attrgetter(text)",
        "open(text)",
        "import io\nio.open(text)",
        "import os\nos.open(text, os.O_RDONLY)",
        "import os\nos.remove(text)",
        "from os import replace\nreplace(text, text)",
        "from pathlib import Path\nPath(text)",
        "import pathlib\npathlib.Path(text)",
        "(folder / text).read_text()",
        "(folder / text).open('w')",
        "folder.joinpath(text).write_bytes(data)",
        "from performer.files import write_whole\nwrite_whole(folder / text, data)",
        "import shutil\nshutil.copy(text, text)",
        "import tempfile\ntempfile.NamedTemporaryFile(prefix=text)",
        "from aiohttp import web\nweb.FileResponse(text)",
        "app.router.add_static('/', folder)",
    ],
)
def test_a_name_that_is_told_is_found_in_control(source):
    assert Scan(source, where="control/child.py").sites - SITES
    assert not Scan(source, where="doctor.py").sites


@pytest.mark.parametrize("where", ["control/midi.py", "engines/tensorrt.py", "show.py"])
def test_another_import_by_name_is_found(where):
    assert Scan("import importlib\nimportlib.import_module(text)", where=where).sites - SITES
    assert Scan("from importlib import import_module as get\nget('rtmidi')", where=where).sites - SITES


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "import re\nre.compile('x').fullmatch(text)",
        "import torch\ntorch.compile(model)",
        "import torch\ntorch.load(file, weights_only=True)",
        "import subprocess\nsubprocess.run(['nvidia-smi'], shell=False)",
        "import json\njson.loads(text)",
        "'{}:{}'.format(*target)",
        "'%s' % text",
        "f'{value:.2f}'",
        "float(beat) % 1.0",
        "(len(rows) + 1) % 2",
        "getattr(error, 'code', 0)",
        "text.replace('a', 'b')",
        "import os\nos.dup(2)",
    ],
)
def test_what_is_harmless_is_let_be(source):
    scan = Scan(source, where="control/child.py")
    assert (scan.found, scan.sites) == ([], set())


# Behaviour

TABLE = ParamTable(base_params())
SHOW = """# mine
schema = 1

[params]
"out.dimmer" = 0.5

[osc]
"/td/low" = "macro.8"
"""
TEXTS = [
    "{0.__class__}",
    "{0.__init__.__globals__}",
    "%s%n%x",
    "%(message)s",
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\ran",
    "../ran",
    "__import__('os').system('touch ran')",
    "$(touch ran)",
    "; touch ran",
    "`touch ran`",
    "cos\nsystem\n(S'touch ran'\ntR.",
    '"\n[params]\n"out.dimmer" = 1.0\n#',
    "<script>fetch('/panel.json?token=')</script>",
    "\x1b]0;ran\x07",
    "A" * 5000,
]
PATHS = [
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "/%252e%252e%252fetc%252fpasswd",
    "/..%5c..%5cetc%5cpasswd",
    "/..%c0%af..%c0%afetc/passwd",
    "//etc/passwd",
    "/panel/../../etc/passwd",
    "/panel/../web.py",
    "/panel/%2e%2e/web.py",
    "/panel/..%2fweb.py",
    "/panel/..%5cweb.py",
    "/panel/%2fetc%2fpasswd",
    "/etc/passwd%00.html",
    "/etc/passwd?VALUE",
    "/show.toml",
    "/panel.html",
    "/control/child.py",
    "/performer/control/child.py",
    "/{0.__class__}",
    "/%7B0.__class__%7D?VALUE",
    "/?{0.__class__}",
    "/?__import__('os').system('touch%20ran')",
    "file:///etc/passwd",
]


class Stage:
    """A control process in a folder in a folder, so that what is written outside the folder is seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.setlist = folder / "tour" / "night" / "show.toml"
        self.setlist.parent.mkdir(parents=True)
        self.setlist.write_text(SHOW)
        self.hands = Hands(
            table=TABLE, host="127.0.0.1", port=free_port(), http_port=free_tcp_port(), epoch_s=time.monotonic(),
            cues=[("1", "egg")], setlist=self.setlist,
        )  # fmt: skip
        with contextlib.chdir(self.setlist.parent):  # what has no folder would be written there
            self.hands.start()
        self.peer = Peer(self.hands)
        self.ping()  # it serves
        self.process = psutil.Process(self.hands.child_pid)

    def ping(self) -> None:
        self.peer.send("/perf/sys/ping")
        self.peer.heard(until=lambda got: "/perf/sys/pong" in got, seconds=20.0)

    def files(self) -> dict[str, bytes]:
        """Everything that is there."""
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def is_well(self) -> None:
        """The process is the one that it was, answers, and has started nothing."""
        self.ping()
        assert self.hands.child_pid == self.process.pid
        assert self.hands.status().restarts == 0
        assert self.process.children() == []

    def close(self) -> None:
        """End it."""
        self.peer.socket.close()
        self.hands.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


@pytest.fixture
def learning_stage(tmp_path):
    """One of its own for what learns and saves."""
    made = Stage(tmp_path)
    yield made
    made.close()


def test_hostile_texts_are_names_of_nothing(stage):
    before = stage.files()
    count = 0
    commands = ("learn", "take", "release", "unbind", "bind", "load", "eval", "save/", "ping/")
    knobs = ("macro/1", "macro/1/norm", "transport/bpm", "out/freeze", "cue/go", "clock/beat")
    for text in TEXTS:
        for address in (*(f"/perf/sys/{each}" for each in commands), *(f"/perf/{each}" for each in knobs)):
            for args in ((text,), (text, text), (text.encode(),), ("+", text)):
                stage.peer.send(address, *args)
                count += 1
        for args in ((text, 9), (text, text, 9), (9, text)):
            stage.peer.send("/perf/sys/subscribe", *args)
            stage.peer.send("/perf/sys/sync", *args)
            count += 2
        for address in (f"/perf/{text}", f"/perf/sys/{text}", f"/{text}", f"/perf/macro/{text}"):
            stage.peer.send(address, 1.0)
            stage.peer.send(address, "?")
            count += 2
        stage.is_well()  # not too many at once for a small buffer
    end = time.monotonic() + 5
    while (status := stage.hands.status()).received < count + len(TEXTS):  # and the pings
        assert time.monotonic() < end, status
        time.sleep(0.02)
    assert stage.hands.drain() == []
    assert status.subscribers == 0
    assert stage.files() == before


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20])
def test_a_hostile_name_of_a_cue_arrives_as_it_is_and_is_quoted_as_it_is(stage, text):
    stage.peer.send("/perf/cue/goto", text)
    (event,) = events_until(stage.hands, bool)
    assert (event.param, event.text) == ("cue.goto", text[:64])
    stage.peer.send("/perf/sys/learn", text)
    wanted = f"127.0.0.1: {text!r} is no parameter"[:120]
    end = time.monotonic() + 5
    while not stage.hands.status().refusal.startswith(wanted):
        assert time.monotonic() < end, stage.hands.status().refusal
        time.sleep(0.02)
    stage.is_well()


def test_hostile_addresses_are_learnt_and_saved_as_addresses_in_the_setlist_alone(learning_stage):
    stage = learning_stage
    addresses = [f"/{text}"[:200] for text in TEXTS]
    for address in addresses:
        stage.peer.send("/perf/sys/learn", "cue.panic")
        stage.peer.heard(until=lambda got: "/perf/sys/learning" in got)
        stage.peer.send(address, 0)
        stage.peer.send(address, 1)
        stage.peer.heard(until=lambda got, address=address: (address, "cue.panic") in got.get("/perf/sys/bound", ()))
    before = stage.files()
    for target in ("../../etc/passwd", "../ran", str(stage.folder / "ran"), "{0.__class__}"):
        stage.peer.send("/perf/sys/save", target)
        assert stage.peer.heard(until=lambda got: "/perf/sys/saved" in got)["/perf/sys/saved"] == ["show.toml"]
    stage.is_well()
    after = stage.files()
    assert set(after) == set(before)
    assert [path for path in after if after[path] != before[path]] == [str(stage.setlist)]
    saved = tomllib.loads(stage.setlist.read_text())
    assert saved == {
        "schema": 1,
        "params": {"out.dimmer": 0.5},
        "osc": dict.fromkeys(addresses, "cue.panic"),
    }


@pytest.mark.parametrize("path", PATHS)
def test_no_path_reaches_a_file(stage, path):
    before = stage.files()
    connection = http.client.HTTPConnection("127.0.0.1", stage.hands.http_port, timeout=5)
    for accept in ("*/*", "text/html"):
        connection.putrequest("GET", path, skip_accept_encoding=True)
        connection.putheader("Accept", accept)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read().decode()
        assert "root:" not in body and "import " not in body and "schema" not in body
        if answer.status == 200:  # then it was the root after all: the tree, or the panel
            assert answer.headers["Content-Type"].startswith(("application/json", "text/html"))
            assert json.loads(body)["FULL_PATH"] == "/" if accept == "*/*" else body.startswith("<!doctype html>")
        else:
            assert answer.status in (204, 400, 403, 404)
    connection.close()
    stage.is_well()
    assert stage.files() == before


def test_hostile_frames_of_the_websocket_are_nobodys_business(stage):
    before = stage.files()

    async def play() -> None:
        url = f"ws://127.0.0.1:{stage.hands.http_port}/"
        async with ClientSession() as session, session.ws_connect(url) as ws:
            for text in TEXTS:
                for said in (
                    text,
                    json.dumps({"COMMAND": text, "DATA": text}),
                    json.dumps({"COMMAND": "LISTEN", "DATA": text}),
                    json.dumps({"COMMAND": "LISTEN", "DATA": {text: text}}),
                    json.dumps({text: text}),
                ):
                    await ws.send_str(said)
                await ws.send_bytes(text.encode())
            await ws.send_str(json.dumps({"COMMAND": "LISTEN", "DATA": "/perf/macro/1"}))
            answer = b""
            while not answer.startswith(b"/perf/macro/1\0"):  # before it, what was refused is told
                answer = await ws.receive_bytes(timeout=5)

    asyncio.run(play())
    assert stage.hands.drain() == []
    stage.is_well()
    assert stage.files() == before
