"""The OpenAPI document: valid, complete, short, and its examples work when tried."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate
from support.requests import PNG, post

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
    assert set(examples) == {"picture", "batch"}
    for name, shown in (("picture", "one"), ("batch", "batch")):
        answer = client.post("/predict", json=examples[name]["value"])
        assert answer.json() == answers[shown]["value"]


def test_no_example_fills_a_page(document: dict[str, Any]) -> None:
    def lists(node: object) -> Iterator[list[object]]:
        if isinstance(node, list):
            yield node
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from lists(child)

    for content in document["paths"]["/predict"]["post"]["requestBody"]["content"].values():
        assert all(len(found) <= 10 for found in lists(content))
    assert all(len(found) <= len(HTTP_ERRORS) for found in lists(document["components"]))


def test_what_the_service_answers_is_what_its_schemas_say(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    answers = {
        "Model": client.get("/model"),
        "Prediction": post(client, "image/png", PNG),
        "Batch": client.post("/predict", files=[("a", PNG), ("b", PNG)]),
        "Error": post(client, "image/png", b""),
    }
    schemas = document["components"]["schemas"]
    for name, answer in answers.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        OAS30Validator(schema).validate(answer.json())
    assert set(schemas["Model"]["properties"]) == set(answers["Model"].json())
    model = document["paths"]["/model"]["get"]["responses"]["200"]["content"]["application/json"]
    assert model["schema"] == {"$ref": "#/components/schemas/Model"}
    assert model["example"] == answers["Model"].json()


def test_the_swagger_page_is_served_and_reads_this_document(client: httpx.Client) -> None:
    assert "docs/start.js" in client.get("/docs").text
    assert "docs.json" in client.get("/docs/start.js").text


def test_the_document_names_the_service_relative_to_itself(document: dict[str, Any]) -> None:
    (server,) = document["servers"]
    for place in ("http://localhost:3000/", "https://example.org/behind/a/proxy/"):
        assert urljoin(f"{place}docs.json", server["url"]) == place
