from __future__ import annotations

from datetime import datetime

from made_trials import BOOM, group, trial

from ml_experiment_nb import records
from ml_experiment_nb.records import Status
from ml_experiment_nb.updates import Started
from ml_experiment_nb.widgets import live_html


def test_a_large_front_is_not_found_anew_to_be_shown(make, monkeypatch):
    views = [make(metric=dict.fromkeys(names, "maximize")) for names in (("a", "b"), ("a", "b", "c"))]
    for view in views:
        for number in range(50):
            view.take(trial(number, a=number, b=-number, c=0.0))
    found = [[one.number for one in view.ended.like(view.records).front] for view in views]
    monkeypatch.setattr(records, "dominates", lambda *_: 1 / 0)
    for view, front in zip(views, found, strict=True):
        assert "50 on the front of a, b" in live_html.page(view)
        assert [one.number for one in view.ended.front] == front


def test_as_html_it_says_when_that_was_and_how_to_see_more_until_it_has_ended(make, clock):
    view = make()
    view.take(Started("", "svm", "parent0123", parent=True))
    view.take(trial(0, params={"C": 0.5}, acc=0.75))
    view.take(trial(1, Status.FAILED, {"C": 50.0}, BOOM))
    assert live_html.page(view, table=False, now=datetime(2026, 1, 1, 12, 30)).partition("<div><p>")[0] == (
        "<div><div><b>svm: x</b> <span style='color:#0b6bcb'>running</span> <code>parent01</code></div>"
        "<div><progress value='2' max='4' "
        "style='width:100%;max-width:40em;height:8px;accent-color:#0b6bcb'></progress></div>"
        "<div>2/4, 1 failed, best acc 0.75</div>"
        "<div>best acc <b>0.75</b> by svm #0: C=0.5</div>"
        "<div><b>1 failed</b> at train.py, line 12, in fit: ValueError: too &lt;large&gt;</div>"
        "<div><small>As it was at 12:30:00; <code>%attach parent01</code> in any notebook of the project shows how it "
        "stands.</small></div>"
    )
    view.take(group())
    assert "%attach" not in live_html.page(view)
    assert str(view).startswith("svm: x: 2/4, 1 failed, best acc 0.75, finished after")
