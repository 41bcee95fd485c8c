"""Train the small model of data/checkpoints: pre-training annealed to four depths, and CPT runs from each checkpoint.

    python data/checkpoints/train.py TEXTS    # on PyTorch 2.13; some two hours of one core; writes beside itself

TEXTS holds the Debian packages dict-gcide, linux-doc-6.1, manpages-de and linux-source-6.1, unpacked (``dpkg -x``).
PyTorch is no dependency of the project: install it where this is run.
"""

import copy
import gzip
import math
import re
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

WIDTH, LAYERS, HEADS, CONTEXT, BATCH = 96, 3, 3, 128, 16
MIXTURE = {"eng": 0.65, "doc": 0.20, "de": 0.10, "code": 0.05}
"""D_pt: shares of dictionary, kernel documentation, German manuals and C source."""
HELD_OUT = {"pt": 128, "cpt": 128, "eng": 64, "doc": 64, "de": 64}
"""Sequences of each held-out set."""
EVERY = 40

PEAK = 2e-3
CONSTANT = [(1, PEAK / 200), (200, PEAK), (8000, PEAK)]
BRANCH, DECAY = 6400, 1600
FINALS = {"000": 0.0, "010": 0.1, "050": 0.5}
WSD = [(1, PEAK / 100), (100, PEAK), (1920, PEAK), (2400, 0.0)]
RATIOS = (0.0, 0.5, 1.0)

Points = Sequence[tuple[int, float]]
State = tuple["Transformer", torch.optim.Optimizer]


def texts(folder: Path) -> dict[str, np.ndarray]:
    """Return the bytes of each source; paragraphs are shuffled, so that what is held out is of the same kind."""
    prose = {
        "eng": gzip.decompress(next(folder.rglob("gcide.dict.dz")).read_bytes()),
        "doc": b"\n".join(gzip.decompress(path.read_bytes()) for path in sorted(folder.rglob("*.rst.gz"))),
        "de": b"\n".join(
            gzip.decompress(path.read_bytes())
            for path in sorted(folder.rglob("man/de/**/*.gz"))
            if path.is_file() and not path.is_symlink()
        ),
    }
    generator = np.random.default_rng(0)
    found = {}
    for name, text in prose.items():
        paragraphs = re.split(rb"\n\n+", text)
        found[name] = b"\n\n".join(paragraphs[at] for at in generator.permutation(len(paragraphs)))
    files = c_files(next(folder.rglob("linux-source-6.1.tar.xz")))
    code = b"\n".join(files[at] for at in np.random.default_rng(0).permutation(len(files)))
    found["code"], found["cpt"] = code[:4_000_000], code[4_000_000:44_000_000]
    return {name: np.frombuffer(text, np.uint8) for name, text in found.items()}


def c_files(archive: Path) -> list[bytes]:
    """Return the C files of an archive, but for the largest, which are tables."""
    with tarfile.open(archive) as opened:
        wanted = (one for one in opened if one.isfile() and one.name.endswith(".c") and one.size < 200_000)
        return [opened.extractfile(one).read() for one in wanted]


class Block(nn.Module):
    """Attention and feed-forward, each after a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        """Return the stream with what the block adds."""
        rows, steps, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(rows, steps, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        q, k = rotated(q, cosine, sine), rotated(k, cosine, sine)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, steps, WIDTH))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


def rotated(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Return queries or keys turned by their positions."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class Transformer(nn.Module):
    """A decoder over bytes with tied embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(WIDTH)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                scale = 1 / math.sqrt(2 * LAYERS) if name.endswith(("out.weight", "down.weight")) else 1
                nn.init.normal_(weight, std=0.02 * scale if "embedding" in name else scale / math.sqrt(weight.shape[1]))
        half = WIDTH // HEADS // 2
        angles = torch.outer(torch.arange(CONTEXT), 10_000 ** (-torch.arange(half) / half))
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of each next byte."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        return self.norm(x) @ self.embedding.weight.T

    @property
    def size(self) -> int:
        """Non-embedding parameters."""
        return sum(weight.numel() for name, weight in self.named_parameters() if "embedding" not in name)


class Data:
    """Training texts and held-out sets: the first megabyte of a source, a tenth of one if it is short, is held out."""

    def __init__(self, sources: dict[str, np.ndarray]) -> None:
        cut = {name: 1_000_000 if len(text) >= 5e6 else 100_000 for name, text in sources.items()}
        self.train = {name: text[cut[name] :] for name, text in sources.items()}
        held = {name: text[: cut[name]] for name, text in sources.items()}
        generator = np.random.default_rng(1)
        self.held = {}
        for domain, count in HELD_OUT.items():
            mixed = (
                generator.choice(list(MIXTURE), count, p=list(MIXTURE.values())) if domain == "pt" else [domain] * count
            )
            self.held[domain] = sequences(held, mixed, generator)

    def batch(self, generator: np.random.Generator, replay: float) -> torch.Tensor:
        """Draw a batch, each sequence from D_pt with the probability of replay."""
        old = generator.random(BATCH) < replay
        names = np.where(old, generator.choice(list(MIXTURE), BATCH, p=list(MIXTURE.values())), "cpt")
        return sequences(self.train, names, generator)


def sequences(sources: dict[str, np.ndarray], names: Sequence[str], generator: np.random.Generator) -> torch.Tensor:
    """Return a sequence of each source named, from a place drawn, and the byte after it."""
    rows = []
    for name in names:
        text = sources[str(name)]
        at = generator.integers(len(text) - CONTEXT - 1)
        rows.append(text[at : at + CONTEXT + 1])
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def loss_of(model: Transformer, rows: torch.Tensor) -> torch.Tensor:
    """Return the mean loss, nats a byte."""
    return functional.cross_entropy(model(rows[:, :-1]).reshape(-1, 256), rows[:, 1:].reshape(-1))


compiled = torch.compile(loss_of)


@torch.no_grad()
def measured(model: Transformer, data: Data) -> dict[str, float]:
    """Return the loss on each held-out set."""
    return {domain: loss_of(model, rows).item() for domain, rows in data.held.items()}


def train(
    state: State, data: Data, points: Points, *, replay: float, seed: int, keep: int | None = None
) -> tuple[dict[int, dict[str, float]], State, State | None]:
    """Train on from a state: losses by step, the state at the end, and that at a step to keep."""
    model, optimiser = copy.deepcopy(state)
    generator = np.random.default_rng(seed)
    losses, kept = {0: measured(model, data)}, None
    steps, rates = zip(*points, strict=True)
    for step, rate in enumerate(np.interp(np.arange(1, steps[-1] + 1), steps, rates), 1):
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = compiled(model, data.batch(generator, replay))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % EVERY == 0:
            losses[step] = measured(model, data)
        if step == keep:
            kept = copy.deepcopy((model, optimiser))
    return losses, (model, optimiser), kept


class Written:
    """The three tables of a curve folder, row by row."""

    def __init__(self) -> None:
        self.runs, self.lr, self.losses = [], [], []

    def add(self, run: str, points: Points, losses: dict[int, dict[str, float]], **columns: object) -> None:
        """Add a run."""
        self.runs.append({"run": run, **columns})
        self.lr += [(run, *point) for point in points]
        self.losses += [
            (run, step, domain, round(loss, 5)) for step, by in losses.items() for domain, loss in by.items()
        ]

    def write(self, folder: Path, size: int) -> None:
        """Write the folder."""
        order = ["run", "phase", "parent", "parent_step", "replay", "model_size", "batch_tokens", "seed"]
        runs = pd.DataFrame(self.runs).assign(model_size=size, batch_tokens=BATCH * CONTEXT)
        runs[order].astype({"parent_step": "Int64"}).to_csv(folder / "runs.csv", index=False)
        pd.DataFrame(self.lr, columns=["run", "step", "lr"]).to_csv(folder / "lr.csv", index=False)
        columns = ["run", "step", "domain", "loss"]
        pd.DataFrame(self.losses, columns=columns).to_csv(folder / "losses.csv", index=False)


def main() -> None:
    """Train all runs and write the folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, written = Data(texts(Path(sys.argv[1]))), Written()
    model = Transformer()
    start = model, torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    losses, constant, branch = train(start, data, CONSTANT, replay=1.0, seed=0, keep=BRANCH)
    del losses[0]  # untrained
    pt = {"phase": "pt", "replay": None, "seed": 0}
    written.add("pt_const", CONSTANT, losses, parent=None, parent_step=None, **pt)
    checkpoints = {"100": (constant, "pt_const", CONSTANT[-1][0])}
    for name, final in FINALS.items():
        decay = [(1, PEAK + PEAK * (final - 1) / DECAY), (DECAY, PEAK * final)]
        losses, state, _ = train(branch, data, decay, replay=1.0, seed=0)
        del losses[0]
        written.add(f"pt_wsd{name}", decay, losses, parent="pt_const", parent_step=BRANCH, **pt)
        checkpoints[name] = state, f"pt_wsd{name}", DECAY
    for name, (state, parent, step) in checkpoints.items():
        for replay in RATIOS:
            losses, *_ = train(state, data, WSD, replay=replay, seed=1)
            run = f"cpt_{name}_r{100 * replay:03.0f}"
            written.add(run, WSD, losses, phase="cpt", parent=parent, parent_step=step, replay=replay, seed=1)
            print(run, losses[WSD[-1][0]], flush=True)
    written.write(Path(__file__).parent, model.size)


if __name__ == "__main__":
    main()
