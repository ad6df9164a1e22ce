"""Downloads from a real local server: complete and correct files, or none."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.paths import SAMPLE
from support.servers import free_port

from fashion_mnist.data.download import CONTENT_SHA256, download_fashion_mnist
from fashion_mnist.data.readers.idx import read_idx_folder
from fashion_mnist.data.sources import DEBIAN_FOLDER
from fashion_mnist.errors import DataError


@dataclass
class Mirror:
    """A web server for the files in a folder; `requests` are the requested paths, repeats included."""

    folder: Path
    requests: list[str] = field(default_factory=list)
    url: str = ""


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object, mirror: Mirror, **keywords: object) -> None:
        self.mirror = mirror
        super().__init__(*arguments, directory=str(mirror.folder), **keywords)  # type: ignore[arg-type]

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.mirror.requests.append(self.path)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """A server with an empty folder."""
    mirror = Mirror(tmp_path / "mirror")
    mirror.folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, mirror=mirror)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        mirror.url = f"http://127.0.0.1:{server.server_port}/"
        yield mirror
        server.shutdown()
        thread.join()


def serve(mirror: Mirror, folder: Path) -> None:
    """Serve the files of `folder`."""
    for path in folder.iterdir():
        (mirror.folder / path.name).symlink_to(path)


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason=f"no full data in {DEBIAN_FOLDER}")
def test_files_are_downloaded_once_and_damaged_ones_again(mirror: Mirror, tmp_path: Path) -> None:
    serve(mirror, DEBIAN_FOLDER)
    target = tmp_path / "new" / "data"
    download_fashion_mnist(target, mirror.url)
    assert sorted(path.name for path in target.iterdir()) == sorted(f"{n}.gz" for n in CONTENT_SHA256)
    assert sorted(mirror.requests) == sorted(f"/{n}.gz" for n in CONTENT_SHA256)
    train, test = read_idx_folder(target)
    assert test is not None
    assert (len(train[1]), len(test[1])) == (60_000, 10_000)

    mirror.requests.clear()
    download_fashion_mnist(target, mirror.url)
    assert mirror.requests == []

    damaged = target / "t10k-labels-idx1-ubyte.gz"
    right = damaged.read_bytes()
    damaged.write_bytes(right[:-100])
    download_fashion_mnist(target, mirror.url)
    assert mirror.requests == [f"/{damaged.name}"]
    assert damaged.read_bytes() == right


def test_a_wrong_checksum_leaves_nothing(mirror: Mirror, tmp_path: Path) -> None:
    serve(mirror, SAMPLE)
    target = tmp_path / "data"
    with pytest.raises(DataError, match=r"the checksum is [0-9a-f]{64}, expected c59f468a.*try again"):
        download_fashion_mnist(target, mirror.url)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"<html>moved</html>"])
def test_a_body_that_is_not_gzip_leaves_nothing(mirror: Mirror, tmp_path: Path, content: bytes) -> None:
    (mirror.folder / "train-images-idx3-ubyte.gz").write_bytes(content)
    target = tmp_path / "data"
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: the checksum is"):
        download_fashion_mnist(target, mirror.url)
    assert list(target.iterdir()) == []


def test_the_error_for_a_missing_file_names_it_and_says_what_to_do(mirror: Mirror, tmp_path: Path) -> None:
    target = tmp_path / "data"
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz.*404.*FASHION_MNIST_DATA"):
        download_fashion_mnist(target, mirror.url)
    assert list(target.iterdir()) == []


def test_without_a_server_the_error_says_what_to_do(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    with pytest.raises(DataError, match=r"cannot be downloaded.*Put the four files into data/"):
        download_fashion_mnist(tmp_path / "data", url)


def test_an_answer_that_is_not_http_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    class NoHttp(SimpleHTTPRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"220 mail server ready\r\n")

    with ThreadingHTTPServer(("127.0.0.1", 0), NoHttp) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(DataError, match=r"(?s)cannot be downloaded.*Put the four files into data/"):
            download_fashion_mnist(tmp_path / "data", f"http://127.0.0.1:{server.server_port}/")
        thread.join()
