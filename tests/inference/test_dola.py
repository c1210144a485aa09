"""DoLa: its three equations by hand, its layers, and the same text cached or not, alone or in a batch."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from seodang.checkpoints.huggingface import load_folder
from seodang.errors import UsageError
from seodang.inference.decode import generate
from seodang.inference.dola import by_dynamic_layer, candidates, contrast, divergences, plausible
from seodang.inference.sampling import NEVER, Settings
from tests.inference.conftest import ATTENTIVE, ragged_prompts

GREEDY = Settings(max_new_tokens=25, dola="low", repetition_penalty=1.2)


def logs(*rows: list[float]) -> torch.Tensor:
    """Logits whose softmax is these probabilities, moved by a constant, which must not matter."""
    return torch.tensor(rows).log() + 3.0


def tokens(generations):
    return [generation.tokens for generation in generations]


def test_divergence_by_hand():
    """p = (3/4, 1/4), q = (1/4, 3/4): their mean is (1/2, 1/2), and each is 3/4·ln(3/2) − 1/4·ln 2 away from it."""
    mature, early = logs([0.75, 0.25]), torch.stack([logs([0.25, 0.75]), logs([0.75, 0.25])])
    expected = 0.75 * math.log(1.5) - 0.25 * math.log(2)
    assert divergences(mature, early).flatten().tolist() == pytest.approx([expected, 0.0], abs=1e-6)
    apart = divergences(logs([1 - 1e-9, 1e-9]), logs([1e-9, 1 - 1e-9])[None])
    assert apart.item() == pytest.approx(math.log(2), abs=1e-6)  # the most that it can be


def test_a_forbidden_token_counts_in_neither():
    mature, early = logs([0.6, 0.2, 0.2]), logs([0.1, 0.3, 0.6])[None]
    mature[0, 2] = NEVER
    assert divergences(mature, early).item() == pytest.approx(
        divergences(logs([0.75, 0.25]), logs([0.25, 0.75])[None]).item()
    )
    score = contrast(mature, early[0])[0].tolist()
    assert score[:2] == pytest.approx([math.log(0.75 / 0.25), math.log(0.25 / 0.75)], abs=1e-6)
    assert score[2] == NEVER


def test_contrast_by_hand():
    """0.06 < 0.1 · 0.62: the third token is implausible. Of the others the second gains more: 0.32/0.1 > 0.62/0.8."""
    mature, premature = logs([0.62, 0.32, 0.06]), logs([0.8, 0.1, 0.1])
    assert plausible(mature).tolist() == [[True, True, False]]
    assert contrast(mature, premature)[0, :2].tolist() == pytest.approx([math.log(0.775), math.log(3.2)], abs=1e-6)
    assert contrast(mature, premature)[0, 2] == NEVER
    assert contrast(mature, premature, alpha=0.6).tolist()[0][1:] == [NEVER, NEVER]


def test_each_row_chooses_its_own_layer():
    mature = logs([0.7, 0.2, 0.1], [0.2, 0.7, 0.1])
    near, far = [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]
    early = torch.stack([logs(near, far), logs(far, [0.3, 0.6, 0.1])])
    found = by_dynamic_layer(mature, early)
    assert torch.equal(found[:1], contrast(mature[:1], logs(far)))
    assert torch.equal(found[1:], contrast(mature[1:], logs(far)))


@pytest.mark.parametrize(
    ("choice", "n_layers", "tied", "layers"),
    [
        ("low", 32, False, tuple(range(0, 16, 2))), ("high", 32, False, tuple(range(16, 32, 2))),
        ("low", 12, True, (2, 4)), ("high", 12, True, (6, 8, 10)), ("low", 48, False, tuple(range(0, 20, 2))),
        ("high", 48, True, tuple(range(28, 48, 2))), ("low", 4, True, (2,)), ("low", 2, True, (1,)),
        ("low", 1, True, (0,)), ("3, 5", 6, True, (3, 5)), ((0, 4), 6, False, (0, 4)),
    ],
)  # fmt: skip
def test_candidates(choice, n_layers, tied, layers):
    assert candidates(choice, n_layers, tied) == layers


@pytest.mark.parametrize("choice", ["lo", "2,x", "6", "-1", "", (), (7,)])
def test_layers_that_do_not_exist(choice):
    with pytest.raises(UsageError) as caught:
        candidates(choice, 6, True)
    assert "dola" in caught.value.what and caught.value.fix


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("layers", [(1, 2, 3), (0, 2)])
def test_equals_the_equations_over_transformers_states(family, layers, tmp_path):
    """Token by token from all hidden states of `transformers`, in double precision and without a cache."""
    torch.manual_seed(5)
    if family == "gpt2":
        config = GPT2Config(vocab_size=61, n_positions=64, n_embd=24, n_layer=4, n_head=3, initializer_range=0.3)
        theirs, norm = (model := GPT2LMHeadModel(config)), model.transformer.ln_f
    else:
        config = LlamaConfig(
            vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, tie_word_embeddings=False,
        )  # fmt: skip
        theirs, norm = (model := LlamaForCausalLM(config)), model.model.norm
    theirs.eval().save_pretrained(tmp_path)
    ours, chosen = load_folder(tmp_path)[0].eval(), set()
    penalise = RepetitionPenaltyLogitsProcessor(1.2)
    for prompt in ([3, 1, 4], [15, 9, 26, 5]):
        ids = list(prompt)
        for _ in range(30):
            with torch.no_grad():
                states = theirs(torch.tensor([ids]), output_hidden_states=True).hidden_states
                last = theirs.lm_head(states[-1][0, -1]).double()  # behind the final norm already
                early = [theirs.lm_head(norm(states[layer][0, -1])).double() for layer in layers]
            p, distances = last.softmax(-1), []
            for logits in early:
                q = logits.softmax(-1)
                mean = 0.5 * p + 0.5 * q
                distances.append(0.5 * (p * (p / mean).log()).sum() + 0.5 * (q * (q / mean).log()).sum())
            chosen.add(best := int(torch.stack(distances).argmax()))
            score = (p / early[best].softmax(-1)).log()
            score[p < 0.1 * p.max()] = -math.inf
            ids.append(int(penalise(torch.tensor([ids]), score[None])[0].argmax()))
        settings = Settings(max_new_tokens=30, dola=layers, repetition_penalty=1.2)
        assert generate(ours, [prompt], settings)[0].tokens == ids[len(prompt) :]
    assert len(chosen) > 1 or layers == (0, 2)  # the choice is dynamic; the embedding is always farthest


@pytest.mark.parametrize("family", ATTENTIVE)
def test_cache_and_batch_change_nothing(models, family):
    model, prompts = models[family], ragged_prompts(6)
    whole = tokens(generate(model, prompts, GREEDY))
    assert whole == tokens(generate(model, prompts, GREEDY, use_cache=False))
    assert whole == [tokens(generate(model, [prompt], GREEDY))[0] for prompt in prompts]
    assert whole != tokens(generate(model, prompts, Settings(max_new_tokens=25, repetition_penalty=1.2)))


def test_sampled_rows_keep_their_text(models):
    settings = Settings(max_new_tokens=30, dola=(0, 1), temperature=1.0, top_p=0.9, seed=3)
    prompts = ragged_prompts(4)
    whole = tokens(generate(models["llama"], prompts, settings))
    alone = [tokens(generate(models["llama"], [p], settings, streams=[row]))[0] for row, p in enumerate(prompts)]
    assert whole == alone


def test_rules_leave_something_to_choose(models):
    """A rule that forbids the only plausible token must not leave the row without any."""
    model = models["gpt2"]
    free = generate(model, [[5, 9]], Settings(max_new_tokens=1, dola="low"))[0].tokens
    banned = Settings(max_new_tokens=20, dola="low", banned_ids=tuple(range(90)))
    assert set(generate(model, [[5, 9]], banned)[0].tokens) <= set(range(90, 96)) and free[0] < 96


def test_no_hook_stays_behind(models):
    model = models["gpt2"]
    generate(model, [[1, 2]], GREEDY)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.layers)


def test_what_has_no_layers_to_contrast(models):
    with pytest.raises(UsageError, match="family lstm"):
        generate(models["lstm"], [[1]], GREEDY)
    with pytest.raises(UsageError, match="num_beams = 2 with dola"):
        Settings(dola="low", num_beams=2).check()


def test_the_papers_repetition_penalty(lm):
    assert lm.settings(dola="low").repetition_penalty == 1.2
    assert lm.settings(dola="low", repetition_penalty=1.0).repetition_penalty == 1.0
    assert lm.settings().repetition_penalty == 1.0
    ids, n_ids = lm.prompt_ids("the cat"), lm.tokenizer.vocab_size
    expected = generate(lm.model, [ids], lm.settings(dola=(1,), max_new_tokens=8), vocabulary=n_ids)
    assert lm.generate("the cat", dola=[1], max_new_tokens=8).tokens == expected[0].tokens
