"""MLServer with its adaptive batching; it speaks the Open Inference Protocol."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.servers.shared import load_predictor
from fashion_mnist.imaging import pixels


class FashionMnist(MLModel):
    """Classifies UINT8 pixels (n, 784) or base64 pictures (n,); returns probabilities (n, K)."""

    async def load(self) -> bool:
        self.predictor = load_predictor()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        spec, tensor = self.predictor.spec, payload.inputs[0]
        if tensor.datatype == "BYTES":
            pictures = [pixels.read_picture(data, spec) for data in Base64Codec.decode_input(tensor)]
            images = np.stack(pictures)
        else:
            images = NumpyCodec.decode_input(tensor).astype(np.uint8).reshape(-1, *spec.shape)
        probabilities = self.predictor.predict(images).probabilities
        output = NumpyCodec.encode_output("probabilities", probabilities)
        return InferenceResponse(model_name=self.name, outputs=[output])
