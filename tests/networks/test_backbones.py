"""The backbones: the same graph from training to serving, and their weights, found or asked for."""

import hashlib
from pathlib import Path

import pytest
import torch
from support.paths import SAMPLE

from fashion_mnist.errors import ConfigError
from fashion_mnist.export import onnx_export
from fashion_mnist.export.torch_predictor import load_network
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.networks import backbones, catalog, classifiers
from fashion_mnist.networks.catalog import BACKBONES
from fashion_mnist.networks.classifiers import Classifier
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import ModelRecord
from fashion_mnist.spec import ModelSpec
from fashion_mnist.training.config import TrainConfig, complete_recipe
from fashion_mnist.training.pipeline import train
from fashion_mnist.training.warm_start import load_start, resolve

GRAY = ModelSpec(("a", "b", "c"), 28, 28, 1)
OF_TORCHVISION = ["vgg16", "resnet18", "mobilenet_v3_small"]
BLANK = (torch.zeros(1), torch.ones(1))


def build(name: str, side_px: int = 32, spec: ModelSpec = GRAY) -> Classifier:
    torch.manual_seed(0)
    return classifiers.build(name, spec, *BLANK, side_px).eval()


def noise(spec: ModelSpec, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *spec.shape), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("resnet18", 512),
        pytest.param("mobilenet_v3_small", 1024, marks=pytest.mark.slow),
        ("efficientnet_lite0", 1280),
    ],
)
@pytest.mark.slow
def test_images_are_resized_and_repeated_in_the_graph(name: str, features: int, tmp_path: Path) -> None:
    network = build(name)
    images = noise(GRAY)
    with torch.inference_mode():
        logits, values = network(images)
        assert (logits.shape, values.shape) == ((3, 3), (3, features))
        assert torch.allclose(network.head(values), logits, atol=1e-5)
        colour = images[..., None].expand(-1, -1, -1, 3)
        assert torch.allclose(network(colour)[0], logits, atol=1e-5)
    onnx_export.export_network(network, GRAY, tmp_path)
    record = model_folder.write_record(
        tmp_path,
        ModelRecord(network=name, classes=GRAY.classes, height=28, width=28, channels=1, input_size=32),
    )
    assert onnx_export.check_parity(network, tmp_path, images.numpy()) < 0.05
    assert Predictor(tmp_path, precision="fp32").spec == GRAY  # what /predict takes is not resized
    again = load_network(record, tmp_path)
    with torch.inference_mode():
        assert torch.allclose(again(images)[0], logits, atol=0.05 * max(1, float(logits.std())))


def test_vgg16_sees_224_pixels_by_default() -> None:
    network = classifiers.build("vgg16", GRAY, *BLANK)
    assert (network.side_px, network.head.in_features) == (224, 4096)


def test_images_of_the_right_size_are_left_alone() -> None:
    square = ModelSpec(("a", "b"), 32, 32, 3)
    network = build("resnet18", 32, square)
    images = noise(square)
    x = (images.permute(0, 3, 1, 2) / 255 - network.mean) / network.std
    with torch.inference_mode():
        assert torch.allclose(network.body(x), network(images)[1], atol=1e-5)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_backbones_train_with_sgd_and_at_a_lower_rate_than_their_heads(name: str) -> None:
    def settled(**settings: object) -> tuple[object, ...]:
        config = TrainConfig.model_validate({"network": name, **settings}).resolve()
        assert config.resolve() == config
        return config.optimizer, config.backbone_rate, config.input_size, config.pretrained

    assert settled() == ("sgd", 0.1, 224, True)
    assert settled(pretrained=False, input_size=64) == ("sgd", 1.0, 64, False)
    assert settled(optimizer="sgd", backbone_rate=0.5) == ("sgd", 0.5, 224, True)
    assert settled(**{"from": "some:model"}) == ("sgd", 0.1, 224, False)


def test_the_defaults_of_compact_are_unchanged_and_complete_old_recipes() -> None:
    config = TrainConfig().resolve()
    found = (config.network, config.optimizer, config.backbone_rate, config.input_size, config.pretrained)
    assert found == ("compact", "muon", 1.0, None, False)
    old = {k: v for k, v in config.recipe().items() if k not in ("train", "pretrained", "backbone_rate")}
    assert complete_recipe({**old, "input_size": 28}) == config.recipe()
    assert complete_recipe({**config.recipe(), "input_size": 28}) != config.recipe()
    start = ModelRecord(
        network="resnet18", classes=("a", "b"), height=64, width=64, channels=3, input_size=64
    )
    assert TrainConfig().resolve(start).network == "resnet18"
    assert TrainConfig(network="compact").resolve(start).network == "compact"


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_the_error_for_a_failed_download_says_which_file_to_put_where(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    wanted = rf"put the file {name}-\w+\.pth from .* into {tmp_path}/hub/checkpoints .*--no-pretrained"
    with pytest.raises(ConfigError, match=wanted):
        train(TrainConfig(data=str(SAMPLE), network=name, epochs=1000))
    assert not list(tmp_path.rglob("*.pth"))


def test_a_damaged_cached_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    with pytest.raises(ConfigError, match=r"resnet18-f37072fd\.pth: damaged, .* f37072fd; delete it"):
        backbones.find_weights("resnet18")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_a_file_with_the_shapes_of_torchvision_is_loaded(name: str, tmp_path: Path) -> None:
    from fashion_mnist.networks.torchvision_compat import import_torchvision

    torch.manual_seed(1)
    whole = import_torchvision().models.get_model(name).eval()  # 1,000 classes, as ImageNet's
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    network = build(name)
    before = network.head.weight.clone()
    backbones.load_weights(network.body, name, tmp_path / "weights.pth")
    x = torch.rand(2, 3, 32, 32)
    *path, last = backbones.BACKBONES[name].head.split(".")
    head = whole.get_submodule(".".join([*path, last]))
    with torch.inference_mode():
        assert torch.allclose(head(network.body.eval()(x)), whole(x), atol=1e-5)
    assert torch.equal(network.head.weight, before)
    other = "resnet18" if name != "resnet18" else "mobilenet_v3_small"
    with pytest.raises(ConfigError, match=f"cannot be loaded as the weights of {other}"):
        backbones.load_weights(build(other).body, other, tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=f"cannot be loaded as the weights of {name}"):
        backbones.load_weights(network.body, name, tmp_path / "weights.pth")


def test_the_weights_of_lite0_come_with_pip_and_are_intact(tmp_path: Path) -> None:
    path = backbones.find_weights("efficientnet_lite0")
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("57934424")
    network = build("efficientnet_lite0")
    backbones.load_weights(network.body, "efficientnet_lite0", path)
    stem = dict(network.body.named_parameters())["_conv_stem.weight"]
    assert torch.equal(stem, torch.load(path, weights_only=True)["_conv_stem.weight"])
    assert [(255 * x).flatten().tolist() for x in (network.mean, network.std)] == [[127] * 3, [128] * 3]


def test_training_the_head_alone_needs_a_pretrained_backbone(trained_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--train head: .* on the random layers of compact"):
        train(TrainConfig(data=str(SAMPLE), train="head", epochs=1000))
    folder = str(trained_folder)
    both = {"from": folder, "teacher": (folder,)}
    with pytest.raises(ConfigError, match="--teacher needs --train all"):
        train(TrainConfig(data=str(SAMPLE), train="head", limit=50, **both))


@pytest.mark.slow
def test_lite0_learns_and_training_continues_from_its_model(tmp_path: Path) -> None:
    """Train the head alone, on 400 images at 64 pixels."""
    config = TrainConfig(
        data=str(SAMPLE), limit=400, input_size=64, network="efficientnet_lite0", train="head", epochs=8,
        batch_size=32, average_decay=0.9, output=tmp_path / "first", checkpoint=tmp_path / "runs" / "a.pt",
    )  # fmt: skip
    first = train(config)
    assert first.metrics.accuracy > 0.65  # chance is 0.1
    assert first.record.input_size == 64
    assert first.record.spec.shape == (28, 28)
    assert not list((tmp_path / "runs").iterdir())  # neither checkpoint nor features

    card = (tmp_path / "first" / "README.md").read_text(encoding="utf-8")
    assert (
        "| started from | ImageNet's weights; only the last layer was trained; the network sees 64 x 64 |"
        in card
    )

    further = resolve(TrainConfig.model_validate({"from": str(tmp_path / "first")}))
    assert (further.network, further.input_size, further.pretrained) == ("efficientnet_lite0", 64, False)
    colour = ModelSpec(("a", "b"), 64, 64, 3)
    network = build(further.network, 64, colour)
    load_start(network, further, colour, None)
    stored = load_network(first.record, tmp_path / "first").state_dict()
    for name, weight in network.state_dict().items():
        assert name.startswith("head.") or torch.equal(weight, stored[name])
    assert network.head.out_features == 2


@pytest.fixture(scope="module")
def trained_folder(trained: tuple[object, Path]) -> Path:
    return trained[1]


def test_muon_is_refused_for_networks_that_it_does_not_suit() -> None:
    with pytest.raises(ConfigError, match="--optimizer muon"):
        resolve(TrainConfig(network="vgg16", optimizer="muon", pretrained=False))


def test_both_tables_have_the_same_backbones() -> None:
    assert list(backbones.BACKBONES) == list(catalog.BACKBONES)
