"""Forked kernels: real ipykernels, started and driven as any other, and the cells above the parameters run once."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.parse

import jupyter_kernel_test
import nbformat
import pexpect
import pytest
from jupyter_client.manager import AsyncKernelManager, KernelManager, start_new_kernel
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ml_experiment_nb import make_plan, run
from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.events import Note
from ml_experiment_nb.plans import Step, Task
from ml_experiment_nb.reports import local_sink
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Notebook
from ml_experiment_nb.work.kernels import ForkedKernel, ForkProvisioner, install_kernel
from ml_experiment_nb.work.setups import Warm

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's"),
]


@pytest.fixture(scope="module", autouse=True)
def forked_kernel(tmp_path_factory):
    """Install the kernel where this module alone finds it."""
    where = tmp_path_factory.mktemp("env")
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(where / "share" / "jupyter")
    install_kernel("forked", display_name="Forked", preload=["colorsys"], prefix=str(where))
    yield "forked"
    os.environ.pop("JUPYTER_PATH")
    if before is not None:
        os.environ["JUPYTER_PATH"] = before


class TestTheKernelSuite(jupyter_kernel_test.KernelTests):
    kernel_name = "forked"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result = [{"code": "1+2+3", "result": "6"}]
    code_display_data = [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"}
    ]
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"
    # ipykernel's answer to a history request of one session differs from what the suite expects, forked or not.
    supported_history_operations = ("tail", "search")
    code_history_pattern = "1?2*"


def test_interrupt_restart_and_shutdown():
    manager, client = start_new_kernel(kernel_name="forked")
    try:
        said = []
        client.execute_interactive(
            "import os, sys; print(os.getpid(), 'colorsys' in sys.modules)",
            output_hook=lambda m: said.append(m["content"].get("text", "")),
        )
        pid, preloaded = "".join(said).split()
        assert preloaded == "True"
        client.execute("print('up'); import time; time.sleep(600)")
        while client.get_iopub_msg(timeout=10)["content"].get("text") != "up\n":
            pass
        manager.interrupt_kernel()
        assert client.get_shell_msg(timeout=10)["content"]["ename"] == "KeyboardInterrupt"
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=30)
        assert not os.path.exists(f"/proc/{pid}")
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert not manager.is_alive()


def test_a_kernel_that_dies_is_seen_to_be_dead():
    manager, client = start_new_kernel(kernel_name="forked")
    try:
        client.execute("import os; os._exit(3)")
        assert manager.provisioner.process.wait() == 3
        assert not manager.is_alive()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_on_another_system_the_kernel_is_started(monkeypatch):
    provisioner = ForkProvisioner()
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "file"]
    monkeypatch.setattr("ml_experiment_nb.work.kernels.sys.platform", "darwin")
    with pytest.raises(ExecutorError, match="on Linux alone"):
        provisioner._fork(command, env={}, cwd=None)


def test_an_asynchronous_manager_starts_restarts_and_ends_it(has_ended):
    async def drive():
        manager = AsyncKernelManager(kernel_name="forked")
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        pids = []
        for _ in range(2):
            await client.wait_for_ready(timeout=60)
            said = []
            await client.execute_interactive(
                "import os; print(os.getpid())", output_hook=lambda m, said=said: said.append(m["content"].get("text"))
            )
            pids.append(int("".join(filter(None, said))))
            await manager.restart_kernel(now=True)
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        return pids

    first, second = asyncio.run(drive())
    assert first != second
    assert has_ended(first)
    assert has_ended(second)


def test_the_commands_of_jupyter(tmp_path):
    nbformat.write(
        new_notebook(cells=[new_code_cell("import sys\nprint('colorsys' in sys.modules)")]), tmp_path / "n.ipynb"
    )
    (tmp_path / "one.py").write_text("import sys\nprint('colorsys' in sys.modules)\n")
    for words in (["execute", "--kernel_name=forked", "--inplace", "n.ipynb"], ["run", "--kernel=forked", "one.py"]):
        done = subprocess.run(
            [sys.executable, "-m", "jupyter", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        if words[0] == "run":
            assert "True" in done.stdout
    (cell,) = nbformat.read(tmp_path / "n.ipynb", 4).cells
    assert cell.outputs[0].text == "True\n"


def test_the_console_runs_interrupts_and_ends_it(tmp_path, has_ended):
    words = ["-m", "jupyter", "console", "--kernel=forked", "--simple-prompt"]
    console = pexpect.spawn(sys.executable, words, cwd=str(tmp_path), encoding="utf-8", timeout=120)
    console.delaybeforesend = 2  # as a person: what a kernel says before the console's line to it stands is lost
    try:
        console.expect(r"In \[1\]: ")
        console.sendline("import os, sys, time; print('is', os.getpid(), 'colorsys' in sys.modules)")
        console.expect(r"is (\d+) True")
        pid = int(console.match[1])
        console.expect(r"In \[2\]: ")
        console.sendline("print('s' + 'leeps', flush=True); time.sleep(600)")
        console.expect("sleeps")
        console.sendintr()
        console.expect("KeyboardInterrupt")
        console.expect(r"In \[3\]: ")
        console.sendline("exit")
        console.expect(pexpect.EOF)
    finally:
        console.close(force=True)
    assert has_ended(pid)


def test_a_kernel_of_another_kind_is_started_as_usual(tmp_path, monkeypatch):
    where = install_kernel("other", display_name="Other", prefix=str(tmp_path))
    spec = json.loads(open(f"{where}/kernel.json").read())
    spec["argv"] = [sys.executable, "-m", "ipykernel", "-f", "{connection_file}"]
    with open(f"{where}/kernel.json", "w") as file:
        json.dump(spec, file)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    manager = KernelManager(kernel_name="other")
    manager.start_kernel()
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        assert client.execute_interactive("1 + 1")["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_nbclient_gets_the_same_outputs_as_from_a_cold_kernel():
    def execute(kernel):
        nb = new_notebook(cells=[new_code_cell(source) for source in SOURCES])
        NotebookClient(nb, kernel_name=kernel, timeout=60).execute()
        return [(cell.execution_count, cell.outputs) for cell in nb.cells]

    assert execute("forked") == execute("python3")


SOURCES = [
    "import sys\nprint('out'); print('err', file=sys.stderr)\n1",
    "class A:\n    def __repr__(self): return 'A()'\nimport pickle\npickle.loads(pickle.dumps(A()))",
    "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))\nOut[1], In[1][:10], __name__",
    "!echo shell",
    "sys.path[0], __import__('os').getcwd() in sys.path",
]

NOTEBOOK = [
    new_markdown_cell("# The story"),
    new_code_cell(
        "import random, sys, os\nimport numpy as np\nfrom IPython.display import display, HTML\n"
        "print('out')\nprint('err', file=sys.stderr)\nopen('ran', 'a').write('x')\nrandom.seed(1)\nnp.random.seed(2)"
    ),
    new_code_cell(
        "counter = 0\nclass A:\n    def __repr__(self): return 'A()'\na = A()\n"
        "def inc():\n    global counter\n    counter += 1\n    return counter * scale\n"
        "display(HTML('<b>x</b>'))\nimport logging\nlogging.basicConfig(level=logging.INFO, stream=sys.stdout)\na"
    ),
    new_code_cell("scale = 1\nC = 1.0", metadata={"tags": ["parameters"]}),
    new_code_cell(
        "import pickle\nprint(inc(), inc(), counter, pickle.loads(pickle.dumps(a)))\n"
        "print(random.random(), np.random.rand())\nlogging.info('logged')\nOut.keys(), In[1][:6], __name__"
    ),
    new_code_cell("{'score': C * scale}"),
]


def group_of(path, **options):
    return make_plan(
        spec_from_mapping(
            {
                "name": "warm",
                "run": str(path),
                "param_space": {"C": "range(1, 3)", "scale": "choice([2, 3])"},
                "sampler": "grid",
                "metric": {"name": "score", "direction": "maximize"},
                "executor": "inline",
                "slots": 1,
            }
        ),
        **options,
    )


def executed(record):
    folder = urllib.parse.urlparse(record.artifact_uri).path
    nb = nbformat.read(f"{folder}/nb.ipynb", 4)
    return [(cell.source, cell.get("execution_count"), parted(cell.get("outputs"))) for cell in nb.cells]


def parted(outputs):
    """Return what was printed on each stream, and the rest: the pieces of the first, and their order, are chance."""
    printed = {}
    for one in (one for one in outputs or () if one.output_type == "stream"):
        printed[one.name] = printed.get(one.name, "") + one.text
    return printed, [one for one in outputs or () if one.output_type != "stream"]


def write(path, cells, name="python3"):
    kernel = {"name": name, "language": "python", "display_name": "Python 3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def test_warm_trials_of_a_notebook_give_what_cold_ones_give_and_run_the_setup_once(project):
    write(project / "nb.ipynb", NOTEBOOK)
    warm = [r for r in run(group_of(project / "nb.ipynb")) if r.kind == "trial"]
    assert (project / "ran").read_text() == "x"
    cold = [r for r in run(group_of(project / "nb.ipynb", cold=True)) if r.kind == "trial"]
    assert (project / "ran").read_text() == "x" * 5
    by_params = {str(r.params): r for r in cold}
    assert len(warm) == 4
    for record in warm:
        other = by_params[str(record.params)]
        assert record.notes == ()
        assert record.metrics == other.metrics
        assert executed(record) == executed(other)


PARAMETERS = new_code_cell("C = 1\nscale = 1", metadata={"tags": ["parameters"]})


def test_what_the_setup_has_made_ends_once_and_after_every_trial(project):
    setup = """
import atexit, os, tempfile, weakref
class Ends:
    def __del__(self):
        open('ended', 'a').write('an object\\n')
class Finalized: pass
d = tempfile.TemporaryDirectory(dir='.')
_ = open(d.name + '/x', 'w').write('1')
ends, finalized = Ends(), Finalized()
weakref.finalize(finalized, lambda: open('ended', 'a').write('a finalizer\\n'))
_ = atexit.register(lambda: open('ended', 'a').write('an exit function\\n'))
"""
    trial = """
read = open(d.name + '/x').read()
if C == 1:
    del d, ends, finalized
own = Finalized()
weakref.finalize(own, lambda: open('own', 'a').write('x'))
os.own = own  # it lives as long as the process
{'score': float(read)}
"""
    write(project / "nb.ipynb", [new_code_cell(setup), PARAMETERS, new_code_cell(trial)])
    trials = [r for r in run(group_of(project / "nb.ipynb")) if r.kind == "trial"]
    assert [(r.ok, r.metrics["score"], r.notes) for r in trials] == [(True, 1, ())] * 4
    assert sorted((project / "ended").read_text().splitlines()) == ["a finalizer", "an exit function"]
    assert (project / "own").read_text() == "x" * 4
    assert not list(project.glob("tmp*"))


def test_what_the_setup_does_to_the_environment_holds_in_every_trial(project, monkeypatch):
    monkeypatch.setenv("REVVAR", "outside")
    monkeypatch.setenv("DELVAR", "outside")
    monkeypatch.setenv("KEPTVAR", "outside")
    (project / "own.py").write_text(
        "import os\nos.environ['REVVAR'] = 'own'\nos.environ['NEWVAR'] = 'own'\ndel os.environ['DELVAR']\n"
    )
    asked = "import os\nfound = [os.environ.get(name + 'VAR') for name in ('REV', 'NEW', 'DEL', 'KEPT')]\n"
    trial = asked + "print(found, os.environ['ML_EXPERIMENT_RUN'])\n{'score': found == ['own', 'own', None, 'outside']}"
    write(project / "nb.ipynb", [new_code_cell("import own"), PARAMETERS, new_code_cell(trial)])
    trials = [r for r in run(group_of(project / "nb.ipynb")) if r.kind == "trial"]
    assert [(r.ok, r.metrics["score"], r.notes) for r in trials] == [(True, 1, ())] * 4
    said = {executed(r)[-1][2][0]["stdout"] for r in trials}
    assert len(said) == 4  # each has its own run in its environment


@pytest.mark.parametrize(
    ("setup", "why"),
    [
        ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()", "threads"),
        (
            "from sklearn.ensemble import HistGradientBoostingClassifier as H\nimport numpy as np\n"
            "model = H(max_iter=2).fit(np.random.rand(500, 4), np.arange(500) % 2)",
            "OpenMP",
        ),
        ("raise ValueError('no data')", "a setup cell raised ValueError: no data"),
        ("file = open('nb.ipynb')", "left open what forks would share"),
        ("import sys; sys.exit(3)", "a setup cell raised SystemExit: 3"),
        ("import os; os._exit(3)", "the fork server ended in its setup: exit code 3"),
        ("import ctypes; ctypes.string_at(0)", "the fork server ended in its setup: SIGSEGV (Fatal Python error"),
    ],
)
def test_a_setup_that_can_not_be_forked_is_run_again_by_every_trial(project, setup, why):
    cells = [
        new_code_cell(setup, metadata={"tags": []}),
        new_code_cell("C = 1\nscale = 1", metadata={"tags": ["parameters"]}),
        new_code_cell("{'score': float(model.predict([[0, 0, 0, 0]])[0]) if 'model' in globals() else C}"),
    ]
    write(project / "nb.ipynb", cells)
    plan = group_of(project / "nb.ipynb")
    record = next(run(plan))
    assert any(why in note for note in record.notes), record.notes
    assert record.ok is not any(word in setup for word in ("raise", "exit", "ctypes"))


REST = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Install a kernelspec of forked kernels with some of its keys changed."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))

    def install(name, *, preload=(), **keys):
        where = install_kernel(name, display_name=name, preload=preload, prefix=str(tmp_path))
        with open(f"{where}/kernel.json") as file:
            said = json.load(file)
        with open(f"{where}/kernel.json", "w") as file:
            json.dump({**said, **keys}, file)
        return name

    return install


def said_by(kernel, code):
    """Return what a new kernel prints, what it tells its run, and whether it was forked."""
    told = []

    class Sink:
        send = told.append

    with local_sink(Sink()):
        manager, client = start_new_kernel(kernel_name=kernel)
    printed, forked = [], isinstance(manager.provisioner.process, ForkedKernel)
    try:
        client.execute_interactive(code, output_hook=lambda m: printed.append(m["content"].get("text") or ""))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return "".join(printed), [event.text for event in told if isinstance(event, Note)], forked


def test_its_debugger_leaves_out_the_modules_that_a_started_kernels_does():
    ask = "import json, sys\nfrom ipykernel import ipkernel\nkernel = get_ipython().kernel\n"
    ask += "print(json.__file__ in kernel._kernel_modules, kernel.debugger.kernel_modules is kernel._kernel_modules)\n"
    ask += "print(all(isinstance(one, str) for one in kernel._kernel_modules), ipkernel.sys is sys)"
    assert said_by("forked", ask) == ("True True\nTrue True\n", [], True)


def test_what_is_preloaded_sees_the_kernelspecs_environment(changed, project, monkeypatch):
    (project / "seen_env.py").write_text("import os\nat_import = os.environ.get('COLOUR')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("BASE", "dark")
    for colour in ("red", "blue"):  # one server for each
        kernel = changed(colour, preload=["seen_env"], env={"COLOUR": "${BASE} " + colour})
        code = "import os, seen_env; print(seen_env.at_import, os.environ['COLOUR'])"
        assert said_by(kernel, code) == (f"dark {colour} dark {colour}\n", [], True)


def test_a_kernel_with_flags_of_its_own_is_started_with_them_and_says_so(changed, project):
    kernel = changed("optimized", argv=[sys.executable, "-O", *REST])
    printed, (note,), forked = said_by(kernel, "import sys; print(sys.flags.optimize)")
    assert printed == "1\n"
    assert note.startswith("the kernel was started, not forked: its command asks for more")
    assert not forked


def test_a_preload_that_hangs_keeps_no_kernel_from_starting(changed, project, monkeypatch):
    (project / "hangs.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr("ml_experiment_nb.work.kernels.SETUP_LIMIT", 1.0)
    printed, (note,), forked = said_by(changed("slow", preload=["hangs"]), "print('up')")
    assert printed == "up\n"
    assert "what it preloads (hangs) took longer than 1 s to import" in note
    assert not forked


def test_with_a_set_up_elsewhere_no_server_is_made_for_one_kernel(changed, project, monkeypatch):
    other = project / "env" / "bin" / "python"
    other.parent.mkdir(parents=True)
    other.symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setenv("ML_EXPERIMENT_FORKS", str(project / "nowhere"))
    monkeypatch.setattr("ml_experiment_nb.work.kernels._server", lambda *_: pytest.fail("a server was made"))
    for python, why in ((str(other), "another interpreter than its set-up"), (sys.executable, "is gone")):
        with pytest.raises(ExecutorError, match=why):
            ForkProvisioner()._fork([python, "-m", "ipykernel_launcher", "-f", "x"], env={}, cwd=None)


SETUP_AND_PARAMETERS = [
    new_code_cell("import os, sys\nopen('ran', 'a').write('x')\nseen = os.getenv('COLOUR', '')"),
    new_code_cell("C = 1\nscale = 1", metadata={"tags": ["parameters"]}),
    new_code_cell("{'score': C, 'red': seen == 'red', 'optimized': sys.flags.optimize}"),
]


def test_the_set_up_cells_see_the_kernelspecs_environment(changed, project):
    kernel = changed("red", env={"COLOUR": "red"}, metadata={})
    write(project / "nb.ipynb", SETUP_AND_PARAMETERS, kernel)
    trials = [r for r in run(group_of(project / "nb.ipynb")) if r.kind == "trial"]
    assert [(r.metrics["red"], r.notes) for r in trials] == [(1.0, ())] * 4
    assert (project / "ran").read_text() == "x"


def test_a_kernel_that_can_not_be_forked_runs_all_cells_in_its_own_interpreter(changed, project):
    kernel = changed("optimized", argv=[sys.executable, "-O", *REST], metadata={})
    write(project / "nb.ipynb", SETUP_AND_PARAMETERS, kernel)
    trials = [r for r in run(group_of(project / "nb.ipynb")) if r.kind == "trial"]
    assert [r.metrics["optimized"] for r in trials] == [1.0] * 4
    assert (project / "ran").read_text() == "xxxx"
    for record in trials:
        (note,) = record.notes
        assert note.startswith("its kernel was started, not forked, and ran all cells: the kernelspec 'optimized' ")


@pytest.mark.parametrize("options", [{"engine": "nbclient"}, {"kernel": "optimized"}, {"kernel": "nowhere"}])
def test_what_can_not_be_forked_has_no_server(changed, project, options):
    changed("optimized", argv=[sys.executable, "-O", *REST])
    write(project / "nb.ipynb", NOTEBOOK)
    target = Notebook(notebook=str(project / "nb.ipynb"), **options)
    warm = Warm(Task("0", "t", (Step(target, {}),), {}, str(project)))
    try:
        assert list(warm._servers) == [None]
        assert warm.started(target)
    finally:
        warm.close()
