"""The Dockerfile is one text for one image, compared whole."""

import pytest

from ml_experiment_nb.images.dockerfile import Image, Installed, default_base, dockerfile

SMALL = """\
# train.ipynb, made an image by ml-experiment-nb 0.1.0; BuildKit builds it, without a network.

FROM python:3.11.7-slim-bookworm

USER root

RUN echo 'runner:x:1000:1000::/home/runner:/bin/sh' >> /etc/passwd \\
    && echo 'runner:x:1000:' >> /etc/group \\
    && mkdir -p /home/runner /project \\
    && chmod 777 /home/runner /project

RUN --mount=type=bind,source=tools/uv,target=/mnt/uv \\
    --mount=type=bind,source=wheels,target=/mnt/wheels \\
    --mount=type=bind,source=env/requirements.txt,target=/mnt/requirements.txt \\
    --mount=type=bind,source=tools/settle.py,target=/mnt/settle.py \\
    --mount=type=bind,source=env/spare.txt,target=/mnt/spare.txt \\
    export UV_OFFLINE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy SOURCE_DATE_EPOCH=0 \\
    && /mnt/uv venv --quiet --python 3.11 /opt/env \\
    && /mnt/uv pip install --quiet --python /opt/env --no-index --no-deps --require-hashes \\
        --find-links /mnt/wheels --requirement /mnt/requirements.txt \\
    && /opt/env/bin/python -IB /mnt/settle.py spare /mnt/spare.txt

RUN --mount=type=bind,source=tools/settle.py,target=/mnt/settle.py \\
    --mount=type=bind,source=env/bytecode.txt,target=/mnt/bytecode.txt \\
    export PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=0 \\
    && /opt/env/bin/python -IB /mnt/settle.py bytecode /mnt/bytecode.txt

COPY work/ /project/

COPY frozen.json /opt/frozen.json

LABEL mlexp.version="0.1.0" \\
      org.opencontainers.image.title="a \\"b\\" \\$C"

ENV HOME=/home/runner \\
    LANG=C.UTF-8 \\
    PATH=/opt/env/bin:$PATH \\
    PYTHONUNBUFFERED=1 \\
    USER=runner

USER 1000

WORKDIR /project

ENTRYPOINT ["/opt/env/bin/python", "-P", "-m", "ml_experiment_nb.images.entry", "train.ipynb"]
"""


def image(**changes):
    fields = {
        "source": "train.ipynb",
        "version": "0.1.0",
        "base": "python:3.11.7-slim-bookworm",
        "python": "3.11",
        "environments": (Installed("env"),),
        "folder": ".",
        "file": "train.ipynb",
        "labels": {"org.opencontainers.image.title": 'a "b"\n$C', "mlexp.version": "0.1.0"},
    }
    return Image(**(fields | changes))


def test_the_smallest_image_is_this_text():
    assert dockerfile(image()) == SMALL


def test_the_order_of_labels_makes_no_difference():
    labels = dict(reversed(image().labels.items()))
    assert dockerfile(image(labels=labels)) == SMALL


def test_what_changes_seldom_stands_before_what_changes_often():
    text = dockerfile(
        image(
            environments=(Installed("env", has_local=True), Installed("runner", has_local=True)),
            debian=("git", "libgomp1"),
            folder="sub/inner",
            post_build="binder/postBuild",
            has_kernels=True,
            has_modules=True,
        )
    )
    steps = [
        "apt-get install -y --no-install-recommends \\\n        git \\\n        libgomp1",
        "uv venv --quiet --python 3.11 /opt/env",
        "uv venv --quiet --python 3.11 /opt/runner",
        "/opt/env/bin/python -IB /mnt/settle.py bytecode",
        "/opt/runner/bin/python -IB /mnt/settle.py bytecode",
        "source=env/local.txt",
        "source=runner/local.txt",
        "COPY kernels/ /opt/runner/share/jupyter/kernels/",
        "COPY modules/ /opt/modules/",
        "COPY work/ /project/",
        "chmod +x ./binder/postBuild",
        "HOME=/home/runner ./binder/postBuild",
        "PATH=/opt/env/bin:/opt/runner/bin:$PATH",
        "PYTHONPATH=/opt/modules",
        "WORKDIR /project/sub/inner",
        'ENTRYPOINT ["/opt/runner/bin/python"',
    ]
    assert [text.index(step) for step in steps] == sorted(text.index(step) for step in steps)


def test_only_debians_packages_and_what_the_project_runs_may_use_a_network():
    assert not image(environments=(Installed("env", has_local=True),), has_kernels=True, has_modules=True).uses_network
    assert image(debian=("git",)).uses_network
    assert image(post_build="postBuild").uses_network


def test_a_path_with_a_space_is_one_word_of_the_shell():
    text = dockerfile(image(post_build="my env/postBuild"))
    assert "chmod +x './my env/postBuild' " in text
    assert "HOME=/home/runner './my env/postBuild'\n" in text


def test_a_changed_local_package_leaves_the_layer_of_the_index_as_it_is():
    """The list of local packages is not among what that layer is made of."""
    [index, local] = [
        one for one in dockerfile(image(environments=(Installed("env", True),))).split("\n\n") if "mnt/uv" in one
    ]
    assert "local" not in index
    assert "wheels" not in local


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"ID": "debian", "VERSION_CODENAME": "bookworm"}, "python:3.11.7-slim-bookworm"),
        ({"ID": "debian", "VERSION_CODENAME": "duke"}, "python:3.11.7-slim"),
        ({"ID": "ubuntu", "VERSION_CODENAME": "noble"}, "python:3.11.7-slim"),
        ({}, "python:3.11.7-slim"),
    ],
)
def test_the_base_is_pythons_own_of_this_debian(release, expected):
    assert default_base("3.11.7", release) == expected
