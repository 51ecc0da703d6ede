"""This module tests TransformersModelArtifact with tiny models that are made here: nothing is fetched."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.transformers import TransformersModelArtifact
from tests.conformance.framework_suite import FrameworkSuite
from tests.heavy.torch import nets

WORDS = {"[UNK]": 0, "[PAD]": 1, "good": 2, "bad": 3}


def classifier() -> Any:
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    return transformers.BertForSequenceClassification(config).eval()


def tokenizer() -> Any:
    backend = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")


def predicted(parts: Any) -> Any:
    tokens = parts["tokenizer"](["good", "bad good"], return_tensors="pt", padding=True)
    with torch.no_grad():
        return parts["model"](input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits.numpy()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a connection fails."""

    def refuse(*_args: Any) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


class TestTextClassifier(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> Any:
        return TransformersModelArtifact(name)

    def make_model(self) -> Any:
        return {"model": classifier(), "tokenizer": tokenizer()}

    def predict(self, model: Any) -> Any:
        return predicted(model)

    def wrong_models(self) -> list[Any]:
        return [*super().wrong_models(), {"model": nets.Net()}, {"tokenizer": tokenizer()}, "bert-base-uncased"]


class TestFolder(TestTextClassifier):
    """The path of what save_pretrained wrote, model and tokenizer in one folder."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.path = tmp_path_factory.mktemp("pretrained")

    def make_model(self) -> Any:
        classifier().save_pretrained(self.path)
        tokenizer().save_pretrained(self.path)
        return self.path


def test_weights_are_safetensors(tmp_path: Path) -> None:
    """And nothing else: no file of PyTorch's, which is a pickle inside."""
    TransformersModelArtifact("bert").pack({"model": classifier(), "tokenizer": tokenizer()}).save_model(tmp_path)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert "bert_transformers/model/model.safetensors" in files
    assert not [file for file in files if file.endswith((".bin", ".pt", ".pkl", ".h5"))]


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_folder_of_bentoml_is_read(suffix: str, tmp_path: Path) -> None:
    """Model and tokenizer in one folder of the artifact's name; weights of then are in PyTorch's form."""
    folder = tmp_path / "model"
    classifier().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    if suffix == "bin":
        (folder / "model.safetensors").unlink()
        torch.save(classifier().state_dict(), folder / "pytorch_model.bin")
    (folder / "_model_type.txt").write_text("BertForSequenceClassification")
    (folder / "tokenizer_type.txt").write_text("PreTrainedTokenizerFast")
    parts = TransformersModelArtifact("model").load(tmp_path).get()
    assert (predicted(parts) == predicted({"model": classifier(), "tokenizer": tokenizer()})).all()


def test_weights_that_are_a_pickle_are_not_run(tmp_path: Path) -> None:
    """Those of an old folder are read with weights_only."""
    TransformersModelArtifact("bert").pack({"model": classifier()}).save_model(tmp_path)
    folder = tmp_path / "bert_transformers" / "model"
    (folder / "model.safetensors").unlink()
    archive = io.BytesIO()
    torch.save(Canary(tmp_path), archive)
    for content in (archive.getvalue(), pickle.dumps(Canary(tmp_path))):
        (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(BundleError, match="bert_transformers"):
            TransformersModelArtifact("bert").load(tmp_path)
        assert not (tmp_path / "canary").exists()


def test_code_of_a_models_repository_is_not_run(tmp_path: Path) -> None:
    """auto_map names a file beside the weights."""
    folder = tmp_path / "pretrained"
    classifier().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "architectures": None,
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'canary')!r})\nclass Own: ...\n")
    with pytest.raises(UsageError, match="cannot load its model"):
        TransformersModelArtifact("bert").pack(folder)
    assert not (tmp_path / "canary").exists()


def test_a_class_that_transformers_does_not_have_is_told(tmp_path: Path) -> None:
    """Only its own are looked up, never a function or a module."""
    TransformersModelArtifact("bert").pack({"model": classifier()}).save_model(tmp_path)
    for kind in ("NoSuchModel", "pipeline", "utils", "AutoModel.from_pretrained"):
        (tmp_path / "bert.kinds.json").write_text(json.dumps({"model": kind}))
        with pytest.raises(BundleError, match="which Transformers does not have"):
            TransformersModelArtifact("bert").load(tmp_path)


class Canary:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "canary")

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)
