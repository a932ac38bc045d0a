"""Code that is right, however tricky, raises no alarm."""

import sys
from pathlib import Path

import pytest

from ml_experiment_nb.preflight import check

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = [
    *(EXAMPLES / "notebooks").glob("*.ipynb"), *(EXAMPLES / "notebooks").glob("*.yaml"),
    *(EXAMPLES / "paper").rglob("*.py"), *(EXAMPLES / "paper").glob("*.yaml"), *(EXAMPLES / "paper").glob("*.json"),
]  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_the_examples_are_clean(file):
    assert check(file, ignore=["uncommitted"]) == ()


PYTHON = [
    "from math import *\nprint(sqrt(2), anything)",
    "x = 1\ndel x\nx = 2\nprint(x)",
    "for k in range(3):\n    if k:\n        print(before)\n    before = k",
    "while True:\n    try:\n        print(n)\n    except NameError:\n        n = 1\n        break",
    "try:\n    cache\nexcept NameError:\n    cache = {}\nprint(cache)",
    "try:\n    import fast as engine\nexcept ImportError:\n    engine = None\nprint(engine)",
    "from contextlib import suppress\nwith suppress(NameError):\n    del temporary",
    "if 'model' in globals():\n    print(model)",
    "print(model if 'model' in dir() else None)",
    "'model' in locals() and print(model)",
    "print([a * b for a in range(3) for b in range(a) if b])",
    "print({k: v for k, v in zip('ab', 'cd')}, {x for x in 'a'}, [*(y for y in 'b')])",
    "if (n := len('abc')) > 2:\n    print(n)",
    "print([last := k for k in range(3)], last)",
    "print(any((hit := k) > 1 for k in range(3)))\nprint(hit)",
    "class A:\n    size = 3\n    sizes = [size]\n    def f(self):\n        return A.size\nprint(A().f())",
    "class A:\n    x: int\n    y: 'Later'\n    def f(self) -> 'A':\n        return self",
    "from __future__ import annotations\ndef f(x: Later) -> Other:\n    y: Third = x\n    return y",
    "from __future__ import annotations\nx: Nowhere = 1\nclass A:\n    y: Nowhere = 2",
    "def f():\n    return helper()\ndef helper():\n    return 1\nprint(f())",
    "def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n > 0 and even(n - 1)",
    "def start():\n    global counter\n    counter = 0\nstart()\nprint(counter)",
    "total = 0\ndef add():\n    global total\n    total += 1\nadd()",
    "def outer():\n    n = 0\n    def inner():\n        nonlocal n\n        n += 1\n        return n\n    return inner",
    "a, (b, *c) = 1, (2, 3, 4)\nprint(a, b, c)",
    "a = b = c = 1\nprint(a, b, c)",
    "import os.path, sys as system\nprint(os, system)",
    "with open('a') as f, open('b') as g:\n    print(f, g)",
    "match {'a': [1, 2]}:\n    case {'a': [first, *rest], **others}:\n        print(first, rest, others)\n"
    "    case [x, y] | (x, y):\n        print(x, y)\n    case str() as text:\n        print(text)\n"
    "    case other if other:\n        print(other)",
    "name = 'x'\nwidth = 3\nprint(f'{name!r:>{width}} {name=} {[k for k in name]}')",
    "import asyncio\nasync def f():\n    async with asyncio.Lock() as lock:\n        return lock\nv = await f()\nv",
    "async def numbers():\n    yield 1\nasync for n in numbers():\n    print(n)\nprint([m async for m in numbers()])",
    "import functools\n@functools.lru_cache(maxsize=None)\ndef f(x):\n    return x",
    "def deco(f):\n    return f\n@deco\nclass A:\n    @property\n    def x(self):\n        return 1\n"
    "    @x.setter\n    def x(self, value):\n        pass",
    "x = []\nx += [1]\nx[0] += 1\nprint(x)",
    "def f(x, /, y, *args, z=3, **kwargs):\n    return x, y, args, z, kwargs",
    "f = lambda x, *a, y=2, **k: (x, a, y, k)\nprint(f(1))",
    "n = 3\nf = lambda x=n: x\nprint((lambda k: k + n)(1))",
    "import sys\nif sys.platform == 'linux':\n    slash = '/'\nelse:\n    slash = 'x'\nprint(slash)",
    "import sys\nif len(sys.argv) > 1:\n    given = 1\nprint(given)",
    "for k in []:\n    pass\nelse:\n    done = 1\nprint(done)",
    "try:\n    x = 1\nexcept* ValueError as group:\n    print(group.exceptions)\nfinally:\n    y = 2\nprint(x, y)",
    "exec('made = 1')\nprint(made)",
    "globals()['made'] = 1\nprint(made)",
    "globals().update(a=1)\nprint(a)",
    "print(__name__, __doc__, _, __, _1, _i, Out, In, _oh, _dh, _exit_code)",
    "print(get_ipython(), display, exit, quit)",
    "if False:\n    print(never)",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import B\ndef f(x: 'B') -> 'B':\n    return x",
    "def f(n):\n    if n:\n        import json\n    return json",
    "class Meta(type):\n    pass\nclass A(metaclass=Meta):\n    def f(self):\n        return __class__",
    "def f():\n    try:\n        return unicode\n    except NameError:\n        return str",
    "def top(self, which):\n    return self, which",
    "import pandas as pd\ndf = pd.DataFrame({'a': [1]})\nprint(df.query('a > 0'))",
    "print(*[1], **{'sep': ''})\n[first, *_] = [1, 2]\nprint(first)",
    "_ = 1\nx: int\nx = 2\nprint(x)",
    "assert (y := 1)\nprint(y)",
    "i = 0\nwhile (i := i + 1) < 3:\n    print(i)",
    "import builtins\nbuiltins.profile = print\nprint(profile)",
    "x = 1 if True else 2; print(x); del x",
    "def gen():\n    received = yield 1\n    yield from range(received)",
    "print('\\d', b'x', 1_000, 1j, ..., None, not True)",
    "from os import (path as p,\n    sep)\nprint(p, sep)",
    "def f(x=[(k, v) for k, v in {}.items()]):\n    return x",
    "class A:\n    global shared\n    shared = 1\nprint(shared)",
]


@pytest.mark.parametrize("cell", PYTHON)
def test_python(found, cell):
    assert found(cell) == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 came with Python 3.12")
@pytest.mark.parametrize("cell", ["def f[T](x: T) -> T:\n    return x", "type Pair[T] = tuple[T, T]\nprint(Pair)"])
def test_python_of_later_versions(found, cell):
    assert found(cell) == []


MAGICS = [
    ["%load_ext ml_experiment_nb\n%matplotlib inline\n%config InlineBackend.figure_format = 'svg'"],
    ["!pip install numpy\n%pip install -q pandas\n%cd ..\n!ls $HOME/{x} | awk '{print $1}'"],
    ["files = !ls\nhere = %pwd\nprint(files, here)"],
    ["%%time\nx = 1", "print(x)"],
    ["\n\n%%time\nx = 1", "print(x)"],
    ["%%capture out\nprint(1)", "out.show()"],
    ["%%bash\necho ${nothing} $(cat file)\nfor k in *; do x=1; done", "%%html\n<b>{{ no.python }}</b>"],
    ["%%bash --out listing\nls", "print(listing)"],
    ["%%script python3 --out text\nprint(undefined)", "print(text)"],
    ["%%writefile module.py\nprint(undefined", "%%javascript\nlet x = 1;"],
    ["%time y = sum(range(3))", "print(y)"],
    ["%timeit sum(range(3))\nprint?\n?print\nprint??"],
    ["%run other.ipynb", "print(made_there)"],
    ["%store -r kept", "print(kept)"],
    ["%%some_unknown_magic result\nanything at all", "print(result)"],
    ["%pylab inline", "print(zeros(3))"],
    ["%%time\n%%experiment 'x' --into record\nC = 1\nprint(C)", "print(record, C)"],
    ["trials = 3", "%%group 'x' --trials {trials} --maximize a\nC = uniform(0, 1)\n{'a': C}"],
    ["rows = [{'C': 1}]", "%%group 'x' --each rows --into recs\nC = 2\n{'a': C}", "print(recs)"],
    ["%%group --trials 2 --sampler grid\nC = choice([1, 2])\nn = range(3)\nk = [randint(1, 2)]\nprint(C, n, k)"],
    ["%%experiment 'x'\ntoken = secret('API_TOKEN')\nprint(token)"],
    ["pip install numpy", "print(1)"],
    ["ls"],
    ["from __future__ import annotations", "def f(x: Later):\n    return x"],
    [("print(undefined)", "raises-exception")],
    [("x = = 1", "skip-execution"), "y = 1"],
    [("C = 1\nname = 'x'", "parameters"), ("C = 2", "injected-parameters"), "print(C, name)"],
    [("C = 1", "parameters"), "df = None\ndf.query('a > @C')"],
    [("C = 1", "parameters"), "print('{C}'.format(**locals()))"],
    [("C = 1", "parameters"), "def f():\n    return C", "C = 3\nf()"],
    [("C = 1", "parameters"), "if C is None:\n    C = 3", "print(C)"],
    [("C = 1", "parameters"), "C += 1"],
    [("C: float = 1\n_hidden = 2", "parameters"), "import os\nC = os.environ.get('C', C)"],
    [("path = 'a'", "parameters"), "!cat {path}"],
    [("path = 'a'", "parameters"), "%run other.py $path"],
    [("C = 1", "parameters"), "%%bash -s {C}\necho $1"],
    ["%%experiment 'x'\nC = 1\nname = 'y'\nprint(f'{C} {name}')"],
    ["from ml_experiment_nb import job\n@job\ndef f(C, **more):\n    return {'a': C, **more}\nf(1)"],
    ["from ml_experiment_nb import job\n@job\ndef f(C):\n    return locals()"],
    ["from ml_experiment_nb import job\n@job\ndef f(C):\n    def g():\n        return C\n    return {'a': g()}"],
    ["from ml_experiment_nb import job\n@job\ndef f(C):\n    '''To be written.'''\n    raise NotImplementedError"],
]


@pytest.mark.parametrize("cells", MAGICS, ids=lambda cells: str(cells)[:60])
def test_notebooks(found, cells):
    assert found(*cells) == []


LITERALS = [
    "url = 'https://example.org/home/me/x'\nroute = '/api/v1/users'\npattern = r'/\\d+'\nslash = '/'",
    "'''The text of /home/me/x.'''\ndef f():\n    '/home/me/y'",
    "text = 'see /home/me/data.csv for more'\nlong = '''\n/home/me/x\n'''",
    "open('/dev/null')\nopen('data/x.csv')\nopen('/tmp/x')",
    "from pathlib import Path\nprint(Path('~/data').expanduser(), Path.home() / 'x', '/'.join('ab'))",
    "import os\npassword = os.environ['PASSWORD']\ntoken = os.getenv('API_TOKEN')\napi_key = ''",
    "api_key = 'YOUR_API_KEY'\ntoken = '<token>'\npassword = '${PASSWORD}'\npad_token = '[PAD]'\napi_key = 'your-key'",
    "eos_token = '<|endoftext|>'\ntoken = 'word'\ntokens = 'the quick brown fox'\nsep_token = '</s>'",
    "tokenizer = 'bert-base-uncased'\nkey = 'a1b2c3d4e5'\nprimary_key = 'user_id'\nmax_tokens = '1024tokens'",
    "from ml_experiment_nb import secret\npassword = secret('DB_PASSWORD')",
    "address = 'postgresql://user:{password}@host/x'\nother = f'https://{1}:{2}@host'",
    "schema = {'password': 'string?', 'private_key': 'string'}\nname_token = r'[^\\W\\d]\\w*'\npassword = ':****'",
    "labels = {'token': 'B-PER', 'password': None}\nsk = 'sk-estimator-doc-link-fitted-hover'",
]


@pytest.mark.parametrize("cell", LITERALS)
def test_literals(found, cell):
    assert found(cell) == []
