"""The model card: a README.md in the model's folder that says what the model is and how it was trained."""

from typing import Any, Final

from fashion_mnist.evaluation.metrics import BINS, Metrics
from fashion_mnist.registry.model_folder import ModelRecord
from fashion_mnist.spec import FASHION_MNIST_CLASSES

TRUST: Final = "## How far to trust it\n"


def write_card(record: ModelRecord, metrics: Metrics, history: dict[str, Any]) -> str:
    """Return the card as Markdown. metrics: on the test images. history: `History.asdict()`."""
    shape = " x ".join(map(str, record.spec.shape))
    kind = "grayscale" if record.channels == 1 else "colour"
    garments = record.classes == FASHION_MNIST_CLASSES
    hint = " (for Fashion-MNIST: centred, gray, front views on black)" if garments else ""
    return f"""\
# {record.network} on {record.data["name"]}

Classifies {shape} {kind} pictures (uint8, 0 is background) into {len(record.classes)} classes:
{", ".join(record.classes)}.

{_metrics_tables(record, metrics)}

## How it was trained
{_training_table(record)}

`model.json` has the full configuration, the fingerprints of the data and the checksums of the files.

```
epoch    loss  accuracy     val loss  accuracy    rate  seconds
{_log(history)}
```

{TRUST}{describe_trust(record, metrics)}

## Limits
The network has seen pictures like its training images{hint} and nothing else. Expect no useful class for
pictures that look different. `in_distribution` says whether a picture resembles the calibration images; it
does not prove that the class is right.
"""


def describe_trust(record: ModelRecord, metrics: Metrics) -> str:
    """Return the section on calibration, prediction sets, and agreement of torch and the served network."""
    rows = "".join(
        f"| prediction sets for {float(coverage):.0%} | {found.describe()} |\n"
        for coverage, found in metrics.sets.items()
    )
    agreement = record.agreement or {}
    for name in ("fp32", "served"):
        if name in agreement:
            found = agreement[name]
            rows += (
                f"| {name} against torch, {agreement['n']:,} validation images | same class for "
                f"{found['same_class']:.2%}; probabilities differ by at most "
                f"{found['largest_difference']:.4f} |\n"
            )
    return f"""
| on {metrics.n:,} test images, if nothing else is said | |
|---|---|
| calibration error, {BINS} bins | {metrics.ece:.4f} |
{rows}
The temperature, {record.temperature:.4f}, the prediction sets and the out-of-distribution thresholds were
fitted to the calibration images, which decided nothing else. By default, 1 % of known images count as
out-of-distribution (score above {record.ood_threshold:.4f})."""


def _metrics_tables(record: ModelRecord, metrics: Metrics) -> str:
    rows = "\n".join(
        f"| {name.replace('|', '/')} | {row.precision:.1%} | {row.recall:.1%} | {row.f1:.1%} "
        f"| {row.support:,} |"
        for name, row in metrics.per_class.items()
    )
    return f"""\
| | |
|---|---|
| accuracy | **{metrics.accuracy:.2%}** on {metrics.n:,} test images, evaluated once |
| precision, recall, F1 (macro) | {metrics.precision:.2%}, {metrics.recall:.2%}, {metrics.f1:.2%} |
| negative log likelihood | {metrics.nll:.4f} |
| parameters | {record.training["parameters"]:,} |
| measured with | the compiled network, in {record.training["served_precision"]} |

| class | precision | recall | F1 | images |
|---|---|---|---|---|
{rows}"""


def _training_table(record: ModelRecord) -> str:
    images, training = record.data["images"], record.training
    machine = "{processor}, {cpus} CPUs, {system}".format(**record.machine)
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    teachers = "".join(_teacher_row(teacher) for teacher in training["teachers"])
    return f"""\
| | |
|---|---|
| command | `{record.command}` |
| seed | {record.config["seed"]} |
| time | {training["seconds"] / 60:.1f} min for {record.config["epochs"]} epochs \
({training["ended"]}; the best was epoch {training["best_epoch"]}) in {training["precision"]} |
{_start_row(record)}{teachers}| machine | {machine} |
| versions | {versions} |
| date | {(record.created or "")[:10]} |
| images | {images["train"]:,} for training, {images["validation"]:,} for validation, \
{images["calibration"]:,} for calibration, {images["test"]:,} for testing |"""


def _log(history: dict[str, Any]) -> str:
    return "\n".join(
        "{epoch:5}  {train_loss:6.4f}  {train_accuracy:8.2%}  {validation_loss:11.4f}"
        "  {validation_accuracy:8.2%}  {learning_rate:6.4f}  {seconds:7.1f}".format(**epoch)
        for epoch in history["epochs"]
    )


def _start_row(record: ModelRecord) -> str:
    """Return the row with the starting weights, or an empty string if the record has nothing to report."""
    start = record.config.get("from") or ("ImageNet's weights" if record.config.get("pretrained") else None)
    alone = "; only the last layer was trained" if record.config.get("train") == "head" else ""
    size = f"; the network sees {record.input_size} x {record.input_size}" if record.input_size else ""
    return f"| started from | {start or 'random weights'}{alone}{size} |\n" if start or alone or size else ""


def _teacher_row(teacher: dict[str, Any]) -> str:
    """Return the row for one entry of `Teachers.describe()`; some facts may be None."""
    facts = []
    if teacher["accuracy"] is not None:
        facts.append(f"accuracy {teacher['accuracy']:.2%}")
    if teacher["seconds"] is not None:
        facts.append(f"{teacher['seconds'] / 60:.1f} min")
    if teacher["command"] is not None:
        facts.append(f"`{teacher['command']}`")
    return f"| teacher | {teacher['name']}: {', '.join(facts) or 'unknown origin'} |\n"
