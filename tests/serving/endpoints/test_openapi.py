"""The OpenAPI document: valid, complete, and its examples work when tried."""

from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from fashion_mnist.errors import HTTP_ERRORS
from fashion_mnist.serving.protocol.requests import CONTENT_TYPES


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    content: dict[str, Any] = client.get("/docs.json").json()
    return content


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)


def test_the_document_describes_every_content_type_and_code(document: dict[str, Any]) -> None:
    predict = document["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == set(CONTENT_TYPES)
    assert document["components"]["schemas"]["Error"]["properties"]["code"]["enum"] == list(HTTP_ERRORS)
    described = "".join(answer["description"] for answer in predict["responses"].values())
    for code, (status, _) in HTTP_ERRORS.items():
        if status not in (404, 405):  # these belong to other paths and methods
            assert f"`{code}`" in described


def test_the_json_examples_work_when_tried(client: httpx.Client, document: dict[str, Any]) -> None:
    predict = document["paths"]["/predict"]["post"]
    examples = predict["requestBody"]["content"]["application/json"]["examples"]
    answers = predict["responses"]["200"]["content"]["application/json"]["examples"]
    for name, shown in (("flat", "one"), ("rows", "one"), ("batch", "batch")):
        answer = client.post("/predict", json=examples[name]["value"])
        assert answer.json() == answers[shown]["value"]


def test_the_form_example_works_when_tried(client: httpx.Client, document: dict[str, Any]) -> None:
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    example = content["application/x-www-form-urlencoded"]["example"]
    assert client.post("/predict", data=example).status_code == 200


def test_the_model_example_is_the_answer_of_model(client: httpx.Client, document: dict[str, Any]) -> None:
    shown = document["paths"]["/model"]["get"]["responses"]["200"]["content"]["application/json"]
    assert shown["example"] == client.get("/model").json()


def test_the_swagger_page_is_served_and_reads_this_document(client: httpx.Client) -> None:
    assert "swagger-initializer.js" in client.get("/").text
    assert "docs.json" in client.get("/static_content/swagger-initializer.js").text
