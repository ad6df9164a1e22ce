"""Where the time of one request went."""

from typing import Any


class Stages:
    """Times and sizes of one request, for metrics, logs and traces; 0 for a stage that it did not reach.

    `*_at`: start of a stage, in ns of perf_counter_ns(). `*_ns`: its duration. A request with many images
    passes through the queue in pieces: the durations are sums, the starts those of the last piece.
    """

    # defaults live in the class: an object without attributes costs nothing until a stage is reached
    decode_at = 0
    decode_ns = 0
    queue_at = 0
    queue_ns = 0
    infer_at = 0
    infer_ns = 0
    batch_size = 0
    """Requests in the batch."""
    images = 0
    model = ""
    code = ""
    """Error code of the response."""

    def end_decoding(self, start: int, now: int, images: int, model: str) -> None:
        """Note how long a body was decoded, and what it held."""
        self.decode_at, self.decode_ns = start, now - start
        self.images, self.model = images, model

    def add_batch(self, infer_at: int, infer_ns: int, batch_size: int) -> None:
        """Note the batch that the request, or its last piece, was in."""
        self.infer_at = infer_at
        self.infer_ns += infer_ns
        self.queue_ns += infer_at - self.queue_at
        self.batch_size = batch_size

    def give_up(self, now: int) -> None:
        """Note that the request has left the queue without a result: refused, or its batch failed."""
        self.queue_ns += now - self.queue_at

    def describe(self) -> dict[str, Any]:
        """Return the stages that were reached, in milliseconds, and the sizes, for logs and traces."""
        found: dict[str, Any] = {}
        if self.decode_ns:
            found["decoded_ms"] = self.decode_ns / 1e6
        if self.queue_ns:
            found["waited_ms"] = self.queue_ns / 1e6
        if self.infer_at:
            found["inferred_ms"] = self.infer_ns / 1e6
            found["batch_size"] = self.batch_size
        if self.images:
            found["images"] = self.images
            found["model"] = self.model
        if self.code:
            found["code"] = self.code
        return found
