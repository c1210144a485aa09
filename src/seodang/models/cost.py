"""Parameters, operations and bytes of a model, from its config alone."""

from __future__ import annotations

from typing import Literal

from seodang.models.attention import QUERIES
from seodang.models.config import ModelConfig
from seodang.models.decoder import Decoder
from seodang.models.encoder_decoder import AttentiveEncoderDecoder
from seodang.models.families import build_model
from seodang.models.layers import GatedMLP

LOGITS_BYTES = 2**27
"""Size of the logits that the loss holds at a time (`objectives.language`)."""


def n_parameters(config: ModelConfig) -> int:
    """Trainable numbers; a tied matrix counts once."""
    return sum(parameter.numel() for parameter in build_model(config, "meta").parameters())


def n_matmul_parameters(config: ModelConfig) -> int:
    """Parameters that every token is multiplied with: all matrices but the input and position tables."""
    model = build_model(config, "meta")
    return model.n_matmul_parameters()


def training_flops_per_token(config: ModelConfig, context_length: int) -> int:
    """6·N + 12·L·H·d·T: forward and backward, every matrix and the whole attention square (local layers: the window).

    PaLM (Chowdhery et al. 2022), appendix B. A causal kernel does half of the attention part. Of an encoder N has the
    output matrix for the masked tokens alone.
    """
    model = build_model(config, "meta")
    n = model.n_matmul_parameters() - model.spared_parameters()
    return 6 * n + 12 * config.n_heads * config.d_head * model.keys_seen(context_length)


def sharded_bytes(
    config: ModelConfig,
    *,
    shards: int = 1,
    tensor_parallel: int = 1,
    low_precision: bool = False,
    state_bytes: int | None = None,
) -> dict[str, int]:
    """Bytes that one process holds when a copy of the model is spread over `shards` × `tensor_parallel` processes.

    parameters, gradients   float32 parts: ZeRO stage 3 (Rajbhandari et al. 2020, sec. 5.3). Tensor ranks share the
                            blocks' matrices, not the tables
    optimizer               the same part of `state_bytes`; of AdamW's two moments in float32 when not given
    gathered                what the engine puts together for the time of use, at the larger of two peaks. In a block's
                            backward pass: the tables and the output matrix's gradient; of the block, its weights and
                            those of the next, in the compute type, its gradient in that type, and in float32 while it
                            is being added up. In the embedding's: the tables and their gradients, of a tied matrix two,
                            and the last block's, still being added up
    """
    model = build_model(config, "meta")
    everything = sum(p.numel() for p in model.parameters())
    in_blocks = sum(p.numel() for p in model.layers.parameters())
    shared = sum(p.numel() for p in model.layers.parameters() if p.dim() == 2)  # what tensor ranks share
    tables = everything - in_blocks
    mine = in_blocks - shared + shared // tensor_parallel
    block, width = mine // len(model.layers), 2 if low_precision else 4
    part = (mine + tables) / shards
    states = 8.0 if state_bytes is None else state_bytes / everything
    output = model.output_weight.numel()
    in_a_block = 4 * tables + 4 * output + (3 * width + 4) * block
    at_the_end = 8 * tables + 4 * output * (model.head is None) + 4 * block
    gathered = max(in_a_block, at_the_end) if shards > 1 else 0
    return {
        "parameters": int(4 * part), "gradients": int(4 * part), "optimizer": int(states * part), "gathered": gathered
    }  # fmt: skip


def training_bytes(
    config: ModelConfig,
    micro_batch_tokens: int,
    *,
    low_precision: bool,
    state_bytes: int | None = None,
    context_length: int = 0,
    checkpointing: Literal["none", "blocks", "selective"] = "none",
    on_cpu: bool = False,
    shards: int = 1,
    tensor_parallel: int = 1,
) -> int:
    """Estimated peak of full training in bytes, in one process: float32 weights and gradients (8 a parameter), the
    optimiser's states (`state_bytes`; AdamW's two in float32, 8 a parameter, when not given), each as far as
    `sharded_bytes` leaves them here, and the activations kept for the backward pass (`checkpointing`: see
    `training.activations`), of rows of `context_length` tokens.

    Activations follow Korthikanti et al. 2022, sec. 4 (34·s·b·h a layer with 2-byte numbers and fused
    attention); the residual stream, the norms and the MLP's inner numbers are what they sum. on_cpu: attention's
    dropout keeps a byte for each score of `attention.QueryBlocks`, and a process with torch in it holds something by
    itself. To activations a quarter is added, which the allocator was measured to hold between blocks of other sizes.
    """
    width = 2 if low_precision else 4
    d_q, d_kv = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
    model = build_model(config, "meta")
    gated = any(isinstance(module, GatedMLP) for module in model.modules())
    names = [name for name, _ in next(iter(model.layers)).named_modules()] if isinstance(model, Decoder) else []
    norms = sum(name.endswith("norm") and "." not in name for name in names) or 2
    stream = 4 * config.d_model
    block = 2 * stream + norms * config.d_model * width  # two sums in float32; what norms keep, in the compute type
    block += 2 * (d_q + d_kv) * width * (2 if config.rope else 1)  # q, k, v, output; rotated copies
    block += (d_q + d_kv) * width * ("attention.q_norm" in names)
    # gate, up and their product, and the gate's activation but for SwiGLU; or up, its activation and a gradient
    block += (4 if gated and config.activation != "silu" else 3) * config.d_ff * width
    if on_cpu and config.attention_dropout > 0:
        block += config.n_heads * (context_length + min(QUERIES, context_length)) // 2  # keys of a query, on average
    block += 2 * config.d_model * width * (config.residual_dropout > 0)  # masks
    if config.attention_softcap is not None:  # every score: its tanh and its probability, this in the compute type too
        block += config.n_heads * context_length * (8 + 2 * low_precision)
    other = model.numbers_kept()
    layers = config.n_layers
    if isinstance(model, AttentiveEncoderDecoder):  # as many tokens on either side
        layers += config.n_encoder_layers
        block += (stream + config.d_model * width + 2 * (d_q + d_kv) * width) * config.n_layers // layers  # the source
        if model.dense_masks:  # no fused kernel adds scores with gradients: probabilities, with and without dropout
            block += 2 * config.n_heads * context_length * width + (d_q + d_kv) * width
            block += 2 * config.d_ff * width * (config.residual_dropout > 0)  # which T5 has within the MLP too
    block = block if other is None else other * width
    # q, k and v, attention and its projection, the MLP's inner and outer numbers
    products = (2 * d_q + 2 * d_kv + 2 * config.d_model + config.d_ff * (2 if gated else 1)) * width
    kept = {
        "none": layers * block,
        "blocks": layers * stream + block,
        "selective": layers * (stream + products) + block,
    }[checkpointing]
    activations = micro_batch_tokens * (kept + stream * width) * 5 // 4
    weights_cast = 2 * n_matmul_parameters(config) if low_precision and checkpointing == "none" and shards == 1 else 0
    logits = min(LOGITS_BYTES, micro_batch_tokens * config.vocab_size * width)
    # a tied matrix has a second gradient for a while, that of the embedding; the loss casts it once more
    output = config.vocab_size * config.d_model * (4 * config.tied + (2 if low_precision and not weights_cast else 0))
    held = sharded_bytes(
        config, shards=shards, tensor_parallel=tensor_parallel, low_precision=low_precision, state_bytes=state_bytes
    )
    process = 340_000_000 if on_cpu else 0
    return sum(held.values()) + weights_cast + activations + logits + output + process
