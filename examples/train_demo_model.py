"""Train the demo model: a byte-level Llama on text that every CPython carries.

The corpus is `pydoc_data.topics` and the docstrings of the standard library (PSF licence), without the packages of
tests. It is cut into chunks of 2 KiB; of every forty chunks one goes to the held-out text that the model is scored on
and, in half of the groups, another one to the text that searches score designs on. Both are never trained on.

    python examples/train_demo_model.py --out mxhw/models/demo --minutes 75

writes `config.json`, `model.safetensors` (bfloat16), `training.json` (the log), `heldout.txt`, `search.txt` and
`calibration.txt` (held-in). The learning rate follows the elapsed share of `--minutes`, so a slower machine gets the
same schedule over fewer steps. Matrices are trained by Muon, everything else by AdamW.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import platform
import sysconfig
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

CHUNK = 2048  # bytes
PERIOD = 40  # one chunk of so many is held out
HELD_OUT_CHUNKS = 32  # 64 KiB
SEARCH_CHUNKS = 16
SKIPPED_FOLDERS = {"site-packages", "__pycache__", "test", "tests", "idle_test"}


def documents() -> list[str]:
    """Return one text per topic and per standard library module, in a fixed order, without repeated docstrings."""
    from pydoc_data.topics import topics

    texts = [topics[name] for name in sorted(topics)]
    seen: set[str] = set()
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
        for file in sorted(files):
            if not file.endswith(".py"):
                continue
            try:
                tree = ast.parse(Path(folder, file).read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError):
                continue
            fresh = []
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    text = ast.get_docstring(node)
                    if text and text not in seen:
                        seen.add(text)
                        fresh.append(text)
            if fresh:
                texts.append("\n\n".join(fresh))
    return texts


def split(corpus: bytes) -> tuple[bytes, bytes, bytes]:
    """Cut ``corpus`` into (training, search, held-out) text; the last two are evenly spread over it."""
    chunks = [corpus[i : i + CHUNK] for i in range(0, len(corpus) - CHUNK + 1, CHUNK)]
    period = min(PERIOD, len(chunks) // HELD_OUT_CHUNKS)
    held_out = list(range(period // 4, len(chunks), period))[:HELD_OUT_CHUNKS]
    search = list(range(3 * period // 4, len(chunks), 2 * period))[:SEARCH_CHUNKS]
    apart = set(held_out) | set(search)
    training = b"".join(c for i, c in enumerate(chunks) if i not in apart)
    return training, b"".join(chunks[i] for i in search), b"".join(chunks[i] for i in held_out)


def calibration_text(training: bytes, chunks: int = 16) -> bytes:
    """Return held-in chunks, evenly spread."""
    step = len(training) // chunks
    return b"".join(training[i * step : i * step + CHUNK] for i in range(chunks))


def model_config(context: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=256,
        hidden_size=256,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=context,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        attention_bias=False,
        mlp_bias=False,
    )


def tokens_of(text: bytes, context: int) -> torch.Tensor:
    """Return non-overlapping windows of bytes, int64 ``[windows, context]``."""
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    return data[: len(data) // context * context].view(-1, context)


@torch.no_grad()
def bits_per_byte(model: LlamaForCausalLM, windows: torch.Tensor) -> float:
    """Mean negative log2 likelihood of every byte but the first of each window."""
    model.eval()
    total, count = 0.0, 0
    for batch in windows.split(16):
        logits = model(batch, use_cache=False).logits.float()
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].reshape(-1, 256), batch[:, 1:].reshape(-1), reduction="sum"
        )
        total, count = total + loss.item(), count + batch[:, 1:].numel()
    model.train()
    return total / count / math.log(2)


def optimizers(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_factor(share: float) -> float:
    """Warm up over the first hundredth of the time, stay, then fall linearly over the last 60 %."""
    return min(1.0, share / 0.01, max(0.0, (1.0 - share) / 0.6))


def save(model: LlamaForCausalLM, out: Path, log: dict[str, object]) -> None:
    """Write the model in bfloat16, as it is scored, and the log."""
    import copy

    rounded = copy.deepcopy(model).to(torch.bfloat16)
    rounded.config.dtype = torch.bfloat16
    rounded.save_pretrained(out, safe_serialization=True)
    (out / "training.json").write_text(json.dumps(log, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, made if absent")
    parser.add_argument("--minutes", type=float, default=75.0, help="training time (default: 75)")
    parser.add_argument("--context", type=int, default=512, help="bytes a window (default: 512)")
    parser.add_argument("--batch", type=int, default=8, help="windows a step (default: 8)")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate (default: 0.003)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--compile", action="store_true", help="compile the model first: a quarter faster, needs a C++ compiler"
    )
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    training, search, held_out = split("\n\n\n".join(documents()).encode())
    (args.out / "heldout.txt").write_bytes(held_out)
    (args.out / "search.txt").write_bytes(search)
    (args.out / "calibration.txt").write_bytes(calibration_text(training))
    data = torch.frombuffer(bytearray(training), dtype=torch.uint8)
    model = LlamaForCausalLM(model_config(args.context))
    model.set_attn_implementation("sdpa")
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{len(training)} bytes of training text, {parameters} parameters", flush=True)

    steppers = optimizers(model, args.rate)
    forward = torch.compile(model) if args.compile else model
    log: dict[str, object] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "training_bytes": len(training),
        "parameters": parameters,
        "arguments": {k: str(v) for k, v in vars(args).items() if k != "out"},
        "points": [],
    }
    points: list[dict[str, float]] = log["points"]  # type: ignore[assignment]
    start = shown = saved = time.monotonic()
    step, mean = 0, 0.0
    while (elapsed := time.monotonic() - start) < args.minutes * 60:
        factor = rate_factor(elapsed / (args.minutes * 60))
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = args.rate * factor
        offsets = torch.randint(len(data) - args.context, (args.batch,))
        batch = torch.stack([data[o : o + args.context] for o in offsets.tolist()]).long()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = forward(batch, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 256).float(), batch[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        step += 1
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        now = time.monotonic()
        if now - shown > 60:
            shown = now
            point = {
                "seconds": round(now - start),
                "step": step,
                "bytes": step * args.batch * args.context,
                "train_bits_per_byte": round(mean / math.log(2), 4),
                "heldout_bits_per_byte": round(bits_per_byte(model, tokens_of(held_out, args.context)[::4]), 4),
            }
            points.append(point)
            print(point, flush=True)
        if now - saved > 600:
            saved = now
            save(model, args.out, log)
    save(model, args.out, log)
    final = LlamaForCausalLM.from_pretrained(args.out, dtype=torch.float32)
    log["heldout_bits_per_byte"] = round(bits_per_byte(final, tokens_of(held_out, args.context)), 4)
    log["heldout_bytes"] = len(held_out)
    (args.out / "training.json").write_text(json.dumps(log, indent=1) + "\n")
    print(f"held out: {log['heldout_bits_per_byte']} bits a byte over {len(held_out)} bytes; written to {args.out}")


if __name__ == "__main__":
    main()
