"""Character LSTMs of ml5 and textgenrnn: read, compared with plain numpy in the formats' own conventions, refused."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seodang.checkpoints.charrnn import CharRNN
from seodang.checkpoints.huggingface import load_folder, save_folder
from seodang.checkpoints.resolve import load_model, resolve
from seodang.checkpoints.textgenrnn import TextGenRNNFile
from seodang.checkpoints.verify import verify
from seodang.checkpoints.weights import assemble
from seodang.errors import DataError, SeodangError
from seodang.inference.language_model import LanguageModel

Array = np.ndarray[Any, Any]
CHARACTERS = " abcdefg\n"
TEXT = [3, 0, 7, 7, 1, 8, 2, 5, 0, 4]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _random(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(0, 0.7, shape).astype(np.float32)


# -- ml5's charRNN -----------------------------------------------------------------------------------------------------


def _charrnn(folder: Path, width: int = 6, n_layers: int = 2) -> dict[str, Array]:
    arrays = {"Variable": np.float32(0), "embedding": _random(9, width, seed=0)}
    for layer in range(n_layers):
        cell = f"rnnlm/multi_rnn_cell/cell_{layer}/basic_lstm_cell"
        arrays[f"{cell}/kernel"] = _random(2 * width, 4 * width, seed=layer + 1)
        arrays[f"{cell}/bias"] = _random(4 * width, seed=layer + 10)
    arrays |= {"rnnlm/softmax_w": _random(width, 9, seed=20), "rnnlm/softmax_b": _random(9, seed=21)}
    folder.mkdir()
    manifest = {}
    for name, values in arrays.items():
        file = name.replace("/", "_")
        np.asarray(values, dtype="<f4").tofile(folder / file)
        manifest[name] = {"filename": file, "shape": list(values.shape)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "vocab.json").write_text(json.dumps({character: id for id, character in enumerate(CHARACTERS)}))
    return arrays


def _charrnn_logits(arrays: dict[str, Array], ids: list[int]) -> Array:
    """BasicLSTMCell as TensorFlow computes it: [x, h] · kernel + bias = i, j, f, o; the forget bias is 1."""
    n_layers = sum("kernel" in name for name in arrays)
    width = arrays["embedding"].shape[1]
    c, h = np.zeros((n_layers, width)), np.zeros((n_layers, width))
    rows = []
    for token in ids:
        x = arrays["embedding"][token]
        for layer in range(n_layers):
            cell = f"rnnlm/multi_rnn_cell/cell_{layer}/basic_lstm_cell"
            z = np.concatenate((x, h[layer])) @ arrays[f"{cell}/kernel"] + arrays[f"{cell}/bias"]
            i, j, f, o = np.split(z, 4)
            c[layer] = c[layer] * _sigmoid(f + 1.0) + _sigmoid(i) * np.tanh(j)
            x = h[layer] = np.tanh(c[layer]) * _sigmoid(o)
        rows.append(x @ arrays["rnnlm/softmax_w"] + arrays["rnnlm/softmax_b"])
    return np.array(rows)


def _logits(model: Any, ids: list[int]) -> Array:
    with torch.no_grad():
        return model.logits(model(torch.tensor([ids])))[0].numpy()


def test_charrnn_equals_plain_numpy(tmp_path: Path) -> None:
    arrays = _charrnn(tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert loaded.source.kind == "charrnn" and loaded.model.config.n_layers == 2
    np.testing.assert_allclose(_logits(loaded.model, TEXT), _charrnn_logits(arrays, TEXT), atol=1e-5)


def test_charrnn_goes_through_the_verbs(tmp_path: Path) -> None:
    _charrnn(tmp_path / "m")
    (report,) = verify(tmp_path / "m")
    assert report.passed, report.to_dict()
    loaded = load_model(tmp_path / "m")
    speaker = LanguageModel(loaded.model, loaded.tokenizer, loaded.generation)
    assert speaker.tokenizer.encode("ab Zg\n") == [1, 2, 0, 0, 7, 8] and speaker.tokenizer.decode([1, 0, 7]) == "a g"
    text = speaker.generate("abc", max_new_tokens=12, temperature=0.0).text
    assert len(text) == 12 and speaker.score("abc" + text).n_counted == 14
    assert len(speaker.suggest("ab", 3, max_new_tokens=2)) == 3
    speaker.save(tmp_path / "saved")
    again, tokenizer, _ = load_folder(tmp_path / "saved")
    assert tokenizer is not None and tokenizer.encode("gab") == [7, 1, 2]
    np.testing.assert_array_equal(_logits(again, TEXT), _logits(loaded.model, TEXT))
    (report,) = verify(tmp_path / "saved")
    assert report.passed, report.to_dict()


def test_a_damaged_charrnn_is_told(tmp_path: Path) -> None:
    _charrnn(tmp_path / "m")
    (tmp_path / "m" / "rnnlm_softmax_b").write_bytes(b"\0" * 35)
    with pytest.raises(DataError, match="rnnlm_softmax_b is damaged"):
        load_model(tmp_path / "m")
    (tmp_path / "m" / "rnnlm_softmax_b").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        load_model(tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / "manifest.json").read_text())
    del manifest["rnnlm/softmax_w"]
    (tmp_path / "m" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="no shape of rnnlm/softmax_w"):
        load_model(tmp_path / "m")


# -- textgenrnn --------------------------------------------------------------------------------------------------------

WINDOW, V, E, H = 40, 10, 3, 4


def _keras(cudnn: bool) -> dict[str, Array]:
    """Weights as Keras names them: of its CuDNN layers, or of its plain ones."""
    arrays = {"embedding/embeddings": _random(V, E, seed=0)}
    for layer, n_in in ((1, E), (2, H)):
        arrays[f"rnn_{layer}/kernel"] = _random(n_in, 4 * H, seed=layer)
        arrays[f"rnn_{layer}/recurrent_kernel"] = _random(H, 4 * H, seed=layer + 10)
        arrays[f"rnn_{layer}/bias"] = _random(8 * H if cudnn else 4 * H, seed=layer + 20)
    arrays["attention/attention_W"] = _random(E + 2 * H, 1, seed=30)
    return arrays | {"output/kernel": _random(E + 2 * H, V, seed=31), "output/bias": _random(V, seed=32)}


def _plain(arrays: dict[str, Array], layer: int) -> tuple[Array, Array, Array]:
    """A layer's kernels and bias as Keras' plain LSTM has them; CuDNN's are turned as Keras does when it loads them."""
    kernel, recurrent, bias = (arrays[f"rnn_{layer}/{kind}"] for kind in ("kernel", "recurrent_kernel", "bias"))
    if len(bias) == 4 * H:
        return kernel, recurrent, bias
    kernel = np.hstack([gate.T.reshape(gate.shape, order="F") for gate in np.hsplit(kernel, 4)])
    return kernel, np.hstack([gate.T for gate in np.hsplit(recurrent, 4)]), bias[: 4 * H] + bias[4 * H :]


def _textgenrnn_logits(arrays: dict[str, Array], ids: list[int]) -> Array:
    """Each window from its beginning; keras.preprocessing pads it with 0 in front."""
    rows = []
    for end in range(1, len(ids) + 1):
        window = ([0] * WINDOW + ids[:end])[-WINDOW:]
        found = [arrays["embedding/embeddings"][window]]
        for layer in (1, 2):
            kernel, recurrent, bias = _plain(arrays, layer)
            h, c, states = np.zeros(H), np.zeros(H), []
            for x in found[-1]:
                i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
                c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
                h = _sigmoid(o) * np.tanh(c)
                states.append(h)
            found.append(np.array(states))
        x = np.concatenate(found, axis=1)
        weights = np.exp(x @ arrays["attention/attention_W"])
        rows.append((x * weights / weights.sum()).sum(axis=0) @ arrays["output/kernel"] + arrays["output/bias"])
    return np.array(rows)


def _textgenrnn(folder: Path, arrays: dict[str, Array]) -> TextGenRNNFile:
    vocabulary = {character: id for id, character in enumerate(CHARACTERS[:-1], 1)} | {"<s>": 9}
    (folder / "tiny_vocab.json").write_text(json.dumps(vocabulary))
    file = TextGenRNNFile(folder / "tiny_weights.hdf5")
    file.__dict__["arrays"] = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return file


@pytest.mark.parametrize("cudnn", [True, False])
def test_textgenrnn_equals_plain_numpy(tmp_path: Path, cudnn: bool) -> None:
    arrays = _keras(cudnn)
    file = _textgenrnn(tmp_path, arrays)
    model = assemble(file.config, file.tensors(), origin=file.path, owned=True)
    ids = TEXT * 5  # longer than a window
    np.testing.assert_allclose(_logits(model, ids), _textgenrnn_logits(arrays, ids), atol=1e-5)


def test_textgenrnn_texts_begin_and_end_alike(tmp_path: Path) -> None:
    file = _textgenrnn(tmp_path, _keras(True))
    model = assemble(file.config, file.tensors(), origin=file.path, owned=True)
    speaker = LanguageModel(model, file.tokenizer(), file.generation())
    assert speaker.prompt_ids("a b?") == [9, 2, 1, 3, 0] and speaker.end_ids == {9}
    save_folder(tmp_path / "saved", model, file.tokenizer(), generation=file.generation())
    again, _, _ = load_folder(tmp_path / "saved")
    np.testing.assert_array_equal(_logits(again, TEXT), _logits(model, TEXT))


def test_other_keras_models_are_refused(tmp_path: Path) -> None:
    arrays = _keras(True)
    del arrays["attention/attention_W"]
    with pytest.raises(DataError, match="attention_W is missing"):
        list(_textgenrnn(tmp_path, arrays).tensors())
    arrays = _keras(True) | {"rnn_2/kernel": _random(2 * H, 4 * H, seed=3)}  # both directions
    with pytest.raises(DataError, match=r"rnn_2/kernel is \[8, 16\]"):
        list(_textgenrnn(tmp_path, arrays).tensors())


def test_without_h5py_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "tiny_weights.hdf5").write_bytes(b"\x89HDF")
    with pytest.raises(SeodangError, match="cannot be read") as caught:
        load_model(tmp_path / "tiny_weights.hdf5")
    assert "seodang[hdf5]" in caught.value.fix


def test_hdf5_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    arrays = _keras(True)
    reference = _textgenrnn(tmp_path, arrays)
    with h5py.File(tmp_path / "tiny_weights.hdf5", "w") as file:
        for name, values in arrays.items():
            layer, kind = name.split("/")
            file[f"{layer}/{layer}/{kind}:0"] = values
    assert resolve(tmp_path).path == tmp_path / "tiny_weights.hdf5"
    loaded = load_model(tmp_path)
    wanted = assemble(reference.config, reference.tensors(), origin="", owned=True)
    np.testing.assert_array_equal(_logits(loaded.model, TEXT), _logits(wanted, TEXT))
    (report,) = verify(tmp_path)
    assert report.passed
    (tmp_path / "tiny_weights.hdf5").write_bytes((tmp_path / "tiny_weights.hdf5").read_bytes()[:3000])
    with pytest.raises(DataError, match="is damaged"):
        load_model(tmp_path)


@pytest.mark.slow
def test_the_published_models_speak() -> None:
    """SEODANG_DATA names the folder that has them."""
    folder = Path(os.environ.get("SEODANG_DATA", "")) / "models_charrnn_charlotte_bronte"
    if not folder.is_dir():
        pytest.skip("SEODANG_DATA is not set")
    loaded = load_model(folder)
    reader = CharRNN(folder)
    arrays = {name: reader.read(name).numpy() for name in reader.manifest}
    assert loaded.tokenizer is not None
    ids = loaded.tokenizer.encode("I was glad of it: I never liked long walks")
    np.testing.assert_allclose(_logits(loaded.model, ids), _charrnn_logits(arrays, ids), atol=1e-4)
    speaker = LanguageModel(loaded.model, loaded.tokenizer)
    assert speaker.score("she looked at the fire and said nothing").bits_per_byte < 2.6
    assert len(set(speaker.generate("She was ", max_new_tokens=60, temperature=0.0).text.split())) > 4
