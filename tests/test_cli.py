"""The command line as a user runs it: output, one-line errors, exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import run
from support.paths import BOOT, ROOT, SAMPLE

import fashion_mnist


def test_version() -> None:
    assert run("--version") == (0, f"fashion-mnist, version {fashion_mnist.__version__}\n", "")


def test_predict_reads_files_folders_and_standard_input() -> None:
    for arguments, stdin in (([BOOT], b""), ([BOOT.parent], b""), (["-"], BOOT.read_bytes())):
        code, out, err = run("predict", "--model", "bundled", *arguments, stdin=stdin)
        passed_over = f"fashion-mnist: passed over: 1 not a picture ({BOOT.parent}/trouser.json)\n"
        assert (code, err) == (0, passed_over if arguments == [BOOT.parent] else "")
        assert ": Ankle boot " in out


def test_predict_json_prints_one_object_per_line() -> None:
    code, out, _ = run("predict", "--model", "bundled", "--json", BOOT, BOOT)
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [a["prediction"] for a in answers] == ["Ankle boot"] * 2
    assert answers[0]["image"] == str(BOOT)


def test_predict_top_prints_the_most_probable_classes() -> None:
    _, out, _ = run("predict", "--model", "bundled", "--top", "2", BOOT)
    assert re.search(r": Ankle boot \d+\.\d%, Sneaker \d+\.\d%\n$", out)
    _, out, _ = run("predict", "--model", "bundled", "--top", "2", "--json", BOOT)
    assert list(json.loads(out)["probabilities"]) == ["Sneaker", "Ankle boot"]
    code, _, err = run("predict", "--model", "bundled", "--top", "11", BOOT)
    assert (code, err) == (2, "fashion-mnist: --top 11: bundled has 10 classes; ask for at most as many\n")


def test_a_misspelt_variable_is_named_and_blank_ones_are_unset() -> None:
    code, out, err = run("predict", BOOT, FASHION_MNIST_MODEL="", FASHION_MNIST_MODLE="x")
    assert (code, err.count("\n")) == (0, 1)
    assert "Ankle boot" in out
    assert "did you mean FASHION_MNIST_MODEL?" in err


def test_without_a_home_that_can_be_written_to_the_bundled_model_is_used() -> None:
    command = f"env -u BENTOML_HOME HOME=/proc/none {sys.executable} -m fashion_mnist.cli predict {BOOT}"
    done = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ankle boot" in done.stdout


def test_a_missing_training_package_is_named_with_a_remedy_that_works(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['sklearn.metrics'] = None\n")
    path = f"{ROOT}{os.pathsep}{tmp_path}"
    code, _, err = run("evaluate", "--model", "bundled", "--data", SAMPLE, PYTHONPATH=path)
    assert code == 6
    assert "an evaluation needs scikit-learn; in the project's folder run `make .venv/.dev`" in err
    subprocess.run(["make", "--dry-run", ".venv/.dev"], cwd=ROOT, capture_output=True, check=True)
    for module in (ROOT / "fashion_mnist").rglob("*.py"):
        assert "pip install 'fashion-mnist" not in module.read_text(encoding="utf-8"), module


def test_predict_names_a_bad_picture_and_classifies_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"junk")
    (tmp_path / "b.png").write_bytes(BOOT.read_bytes())
    code, out, err = run("predict", "--model", "bundled", tmp_path)
    assert code == 3
    assert "b.png: Ankle boot" in out
    assert err.count("\n") == 1
    assert "a.png: the body is not a picture" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "missing.png"], 2, "missing.png: No such file"),
        (
            ["predict", "--model", "fashion_mnist:none", str(BOOT)],
            5,
            "neither a model folder nor a tag",
        ),
        (["evaluate", "--data", "missing"], 4, "missing: no such file"),
        (["evaluate", "--data", "/dev/zero"], 4, "/dev/zero: neither a file nor a folder"),
        (
            ["evaluate", "--data", "missing", "--output", "/dev/null"],
            2,
            "/dev/null: cannot write to this folder",
        ),
        (["evaluate", "--data", "missing", "--output", "/proc"], 2, "/proc: cannot write to this folder"),
        (["predict", "a" * 5000], 1, "File name too long"),
        (["predict", "--model", "a" * 5000, str(BOOT)], 5, "neither a model folder nor a tag"),
        (["predict"], 2, "Missing argument"),
    ],
)
def test_errors_become_a_sentence_and_an_exit_code(arguments: list[str], code: int, message: str) -> None:
    found, out, err = run(*arguments)
    assert found == code
    assert message in err
    assert "Traceback" not in err + out


def test_predict_names_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b.png").symlink_to("nowhere")
    (tmp_path / "c.png").write_bytes(BOOT.read_bytes())
    (tmp_path / os.fsdecode(b"d\xff.png")).write_bytes(BOOT.read_bytes())
    code, out, err = run("predict", "--model", "bundled", tmp_path)
    assert (code, out.count("Ankle boot")) == (2, 2)
    assert err == f"fashion-mnist: {tmp_path}/b.png: No such file or directory\n"


def test_predict_enforces_the_pixel_limit() -> None:
    code, _, err = run("predict", "--model", "bundled", BOOT, FASHION_MNIST_MAX_PIXELS="783")
    assert code == 3
    assert "28 x 28 = 784 pixels, at most 783" in err


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        (f"predict --model bundled {BOOT} >/dev/full", "fashion-mnist: No space left on device\n"),
        ("models >/dev/full", "fashion-mnist: No space left on device\n"),
        ("predict --model bundled - <&-", "fashion-mnist: -: standard input is closed; send it a picture"),
    ],
)
def test_closed_and_full_streams_are_reported(redirection: str, message: str, tmp_path: Path) -> None:
    done = subprocess.run(
        f"{Path(sys.executable).parent}/fashion-mnist {redirection}",
        shell=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BENTOML_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FASHION_MNIST_BATCH_SIZE", "many"),
        ("FASHION_MNIST_HOST", "no host!"),
        ("BENTOML_HOME", "/dev/null"),
        ("BENTOML_HOME", "/proc/none"),
    ],
)
def test_an_invalid_environment_variable_is_named(name: str, value: str) -> None:
    code, _, err = run("models", stdin=b"", **{name: value})
    assert code == 2
    assert f"{name}={value}: " in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_evaluate_prints_the_table_and_writes_the_report(tmp_path: Path) -> None:
    code, out, _ = run("evaluate", "--model", "bundled", "--data", SAMPLE, "--output", tmp_path / "r")
    assert code == 0
    assert "Ankle boot" in out
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert metrics["n"] == 1000
    assert f"accuracy {metrics['accuracy']:.2%}" in out
    assert (tmp_path / "r" / "confusion.png").stat().st_size > 10_000


def test_models_marks_the_served_model(tmp_path: Path) -> None:
    code, out, _ = run("models", BENTOML_HOME=str(tmp_path))
    assert code == 0
    (line,) = [line for line in out.splitlines() if "bundled" in line]
    assert "*" in line
    assert "compact" in line
    assert "fashion-mnist" in line


def test_models_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    code = "from fashion_mnist.registry import store; print(store.save(store.BUNDLED_FOLDER))"
    home = str(tmp_path)
    environment = {**os.environ, "BENTOML_HOME": home}
    saved = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    tag = saved.stdout.decode().strip()
    _, out, _ = run("models", COLUMNS="80", BENTOML_HOME=home)
    header, first, second = out.splitlines()
    assert re.fullmatch(rf"\* {tag} +compact, fashion-mnist +95\.14% +\d\.\d 20\d\d-\d\d-\d\d", first)
    assert "bundled" in second
    assert max(map(len, (header, first, second))) <= 80


def test_models_lists_a_damaged_model_and_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "fashion_mnist" / "abc"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text("- no model")
    code, out, err = run("models", BENTOML_HOME=str(tmp_path))
    assert code == 5
    assert "bundled" in out
    assert "damaged" in out
    assert err.startswith("fashion-mnist: fashion_mnist:abc: its model.yaml is damaged")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_train_py_errors_become_one_line_and_an_exit_code() -> None:
    for arguments, code, message in (
        (["--epochs", "0"], 2, "train.py: --epochs:"),
        (["--data", "missing"], 4, "train.py: missing: no such file"),
        (["--data", "/dev/zero"], 4, "train.py: /dev/zero: neither a file nor a folder"),
        (["--data", "missing", "--output", "/proc"], 2, "train.py: /proc: cannot write to this folder"),
    ):
        done = subprocess.run(
            [sys.executable, "train.py", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1
