"""The model card: a README.md in the model's folder that says what the model is and where it comes from."""

from typing import Any

from fashion_mnist.evaluation.metrics import Metrics
from fashion_mnist.registry.model_folder import ModelRecord
from fashion_mnist.spec import FASHION_MNIST_CLASSES


def write_card(record: ModelRecord, metrics: Metrics, history: dict[str, Any]) -> str:
    """The card as Markdown, from nothing but the record, the report on the test images and the history.

    history: `History.asdict()`.
    """
    images = record.data["images"]
    shape = " x ".join(map(str, record.spec.shape))
    machine = "{processor}, {cpus} CPUs, {system}".format(**record.machine)
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    rows = "\n".join(
        f"| {name.replace('|', '/')} | {row.precision:.1%} | {row.recall:.1%} | {row.f1:.1%} "
        f"| {row.support:,} |"
        for name, row in metrics.per_class.items()
    )
    log = "\n".join(
        "{epoch:5}  {train_loss:6.4f}  {train_accuracy:8.2%}  {validation_loss:10.4f}"
        "  {validation_accuracy:8.2%}  {learning_rate:6.4f}  {seconds:7.1f}".format(**epoch)
        for epoch in history["epochs"]
    )
    garments = record.classes == FASHION_MNIST_CLASSES
    hint = " (centred, gray, front views on black for Fashion-MNIST)" if garments else ""
    teachers = "".join(_teacher_row(teacher) for teacher in record.training["teachers"])
    return f"""\
# {record.network} on {record.data["name"]}

Classifies pictures of {shape} pixels, uint8, 0 is background, into {len(record.classes)} classes:
{", ".join(record.classes)}.

| | |
|---|---|
| accuracy | **{metrics.accuracy:.2%}** on {metrics.n:,} test images, looked at once |
| precision, recall, F1 (macro) | {metrics.precision:.2%}, {metrics.recall:.2%}, {metrics.f1:.2%} |
| negative log likelihood | {metrics.nll:.4f} |
| parameters | {record.training["parameters"]:,} |
| measured | on what the compiled network answers, in {record.training["served_precision"]} |

| class | precision | recall | F1 | images |
|---|---|---|---|---|
{rows}

## How it was made
| | |
|---|---|
| command | `{record.command}` |
| seed | {record.config["seed"]} |
| time | {record.training["seconds"] / 60:.1f} min for {record.config["epochs"]} epochs \
({record.training["ended"]}, the best was {record.training["best_epoch"]}) in {record.training["precision"]} |
{_start_row(record)}{teachers}| machine | {machine} |
| versions | {versions} |
| date | {(record.created or "")[:10]} |
| images | {images["train"]:,} for training, {images["validation"]:,} for validation, \
{images["calibration"]:,} for calibration, {images["test"]:,} for testing |

Temperature {record.temperature:.4f} and the out-of-distribution threshold {record.ood_threshold:.4f},
which refuses 1 % of known images, were fitted to the calibration images, which chose nothing.
`model.json` holds the whole configuration, the fingerprints of the data and the checksums of the files.

```
epoch    loss  accuracy  validation  accuracy    rate  seconds
{log}
```

## Limits
It has seen pictures like its training images{hint} and no others; what looks different is another matter.
`in_distribution` says whether a picture looks like the calibration images; it is no proof of anything.
"""


def _start_row(record: ModelRecord) -> str:
    """Weights it started from, how much of it learnt, at which size; empty where there is nothing to tell."""
    start = record.config.get("from") or ("ImageNet's weights" if record.config.get("pretrained") else None)
    alone = "; only the last layer learnt" if record.config.get("train") == "head" else ""
    size = f"; the network sees {record.input_size} x {record.input_size}" if record.input_size else ""
    return f"| started from | {start or 'random weights'}{alone}{size} |\n" if start or alone or size else ""


def _teacher_row(teacher: dict[str, Any]) -> str:
    """One of `Teachers.describe()`; a model from elsewhere may not know all of it."""
    facts = []
    if teacher["accuracy"] is not None:
        facts.append(f"accuracy {teacher['accuracy']:.2%}")
    if teacher["seconds"] is not None:
        facts.append(f"{teacher['seconds'] / 60:.1f} min")
    if teacher["command"] is not None:
        facts.append(f"`{teacher['command']}`")
    return f"| learnt from | {teacher['name']}: {', '.join(facts) or 'of unknown origin'} |\n"
