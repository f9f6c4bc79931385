"""`ncrun rerun`: a recorded configuration is the same run again, and with changed keys the run that these make."""

import json
from pathlib import Path

import pytest
from conftest import TINY, Command, Refused, rows, state

from ncrun.config.again import job_again, override
from ncrun.config.compose import parse
from ncrun.config.planning import job_of

# Rules fill in what is left out, take away what has no effect, and refuse what is typed in vain: each of these has keys
# that a second round through the rules could trip over.
CONFIGURATIONS = [
    ["imbalance=0.1", "class_order=seed", "head.depth=3", "head.width=20", "decay.weight=[1e-3,1e-4,1e-5]"],
    ["decay.mode=parameters", "head.bias=true", "schedule.step=7", "classes=[0,1]", "random_labels=0.5"],
    ["model=resnet18", "augment=[crop,flip]", "taps=[stage1.0]", r"name='it\'s 1e5, \\'", "jobs=3"],
    ["model=ufm_relu", "counts=[4,3]", "path=[1,2]"],
    ["model=ufm", "counts=[4,3]", "optimizer=adam", "restarts=3", "together=true"],
    ["experiment=dang2023/mlp-imbalanced", "scale=cpu", "head.depth=3"],
    ["experiment=sukenik2023/dufm", "head.depth=3"],
]


@pytest.mark.parametrize("typed", CONFIGURATIONS, ids=lambda typed: typed[0])
def test_a_record_is_the_same_run_again(typed: list[str]) -> None:
    run = job_of(typed).runs[-1]
    again = job_again(Path("some/run"), run.config, {"identity": run.identity}, [], True)
    assert (again.identity, again.directory) == (run.identity, Path("some/run"))
    of_the_command = {"run_dir": "some/run", "jobs": 1, "together": False}
    assert again.config == run.config | of_the_command
    elsewhere = job_again(Path("runs.zip/run"), run.config, {"identity": run.identity}, ["seed=9"], False)
    assert (elsewhere.runs[0].descent.seed, elsewhere.directory.parent) == (9, Path("runs"))


TEXTS = [
    "a",
    "",
    "1e5",
    "null",
    "true",
    "it's",
    "\\",
    "a\\'b\\\\",
    "a, [b] {c: d}",
    "=x",
    "~/data",
    "é\u2028",
    '"q"',
    "a:b",
]


@pytest.mark.parametrize("value", [*TEXTS, TEXTS, [], [1, 2.5e-30], None, False, 10**20, 1e-5])
def test_any_value_is_typed_as_itself(value: object) -> None:
    (parsed,) = parse([override("model.args.key", value)])
    assert not parsed.is_sweep_override()
    assert parsed.value() == value
    assert type(parsed.value()) is type(value)


@pytest.mark.usefixtures("undrawn")
def test_unchanged_it_is_left_alone_or_continued_and_changed_it_is_what_train_makes(
    ncrun: Command, workdir: Path
) -> None:
    assert ncrun("train", *TINY, "head.depth=2", "run_dir=run", "head.width=5").status == 0
    before = rows(workdir / "run")
    assert ncrun("rerun", "run").out == "run: finished already; nothing to do\n"
    manifest = json.loads((workdir / "run" / "manifest.json").read_text())
    (workdir / "run" / "manifest.json").write_text(json.dumps(manifest | {"state": "interrupted"}))
    assert ncrun("rerun", "run", "progress=false").status == 0
    assert (state(workdir / "run"), rows(workdir / "run")) == ("done", before)
    assert ncrun("rerun", "run", "seed=1", "model.features=relu", "head.width=null").status == 0
    (made,) = (workdir / "runs").iterdir()
    assert json.loads((made / "manifest.json").read_text())["identity"] == made.name[-10:]
    typed = (*TINY, "head.depth=2", "seed=1", "model.features=relu")
    assert ncrun("train", *typed).out == f"runs/{made.name}: finished already; nothing to do\n"


def test_refusals(ncrun: Command, refused: Refused, workdir: Path, undrawn: None) -> None:
    assert ncrun("train", *TINY, "run_dir=run", "epochs=1").status == 0
    config = workdir / "run" / "config.yaml"
    text = config.read_text()
    assert refused("rerun", "run", "seed=1,2").endswith("a sweep, but ncrun rerun trains one run")
    assert refused("rerun", "run", "jobs=2") == "jobs: has no effect: ncrun rerun trains one run"
    assert refused("rerun", "run", "scale=cpu").startswith(
        "scale: has no effect: a rerun keeps the recorded experiment"
    )
    assert refused("rerun", "run", "head.width=3") == "head.width: has no effect: head.depth=1 has no hidden layer"
    assert refused("rerun", "run", "--watch").startswith("--watch: no such option")
    assert refused("rerun", "seed=1") == "rerun: name a run directory, such as runs/digits-mlp-M3-0123456789"
    assert refused("rerun", "nowhere") == "nowhere: no such run directory"
    (workdir / "lab.py").write_text("raise SystemExit('executed')")
    config.write_text(text.replace("extend: []", "extend: [lab.py]"))
    assert refused("rerun", "run").endswith("with extend=[lab.py]; a record never imports code: give extend= again")
    config.write_text(text.replace("  name: mlp", "  name: module\n  path: lab.py:Net"))
    assert refused("rerun", "run").endswith(
        "model.path=lab.py:Net; a record never imports code: give model.path= again"
    )
    config.write_text(text.replace("name: null", "name: ${oc.env:HOME}"))
    assert refused("rerun", "run") == "run/config.yaml: is not what a run writes: name refers to another key"
