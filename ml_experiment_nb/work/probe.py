"""What is run in an image to see whether it can perform tasks; by any Python, so it is written for the oldest."""

import json
import sys


def main(place, wanted, socket_path):  # type: ignore[no-untyped-def]
    """Print what the image has, as one line of JSON.

    Args:
        place: Where this package is lent.
        wanted: The modules that the targets need.
        socket_path: A socket of the engine's user, which containers have to reach.
    """
    found = dict(python=list(sys.version_info[:2]), executable=sys.executable)  # type: dict[str, object]
    try:
        import importlib.util
        import site
        import socket

        folders = [one for one in site.getsitepackages() if one in sys.path]
        found["site"] = folders[0] if folders else None
        found["missing"] = [name for name in wanted if importlib.util.find_spec(name) is None]
        found["own"] = importlib.util.find_spec("ml_experiment_nb") is not None
        if not found["own"]:
            sys.path.append(place)
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(10)
            try:
                line.connect(socket_path)
            except OSError as error:
                found["unreached"] = str(error)
        import ml_experiment_nb.work.child
        from ml_experiment_nb.capture.packages import packages

        found["version"] = sys.modules["ml_experiment_nb"].__version__
        found["full_python"] = sys.version.split()[0]
        found["packages"] = [vars(one) for one in packages()]
    except BaseException as error:
        found["error"] = "%s: %s" % (type(error).__name__, error)
    print("\n" + json.dumps(found))
