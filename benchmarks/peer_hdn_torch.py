"""The peer for HDN's speed: the same 28x28 networks as a PyTorch user has them.

In an environment with torch:

    python benchmarks/peer_hdn_torch.py --steps=20

Both updates of HDN, batch 16, tree (2, 3, 2), each with a forward pass
and a recombination of its own, as the authors' code has it; `--shared` shares
the encoding between them, as tfdisent does. Prints one JSON line.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

LEVELS, STYLE = (2, 5), 8
GROUPS = {0: [slice(0, 2)], 1: [slice(0, 3), slice(3, 5)]}


def conv(inputs, outputs, kernel, stride=1, norm=False, relu=True):
    parts = [
        nn.ReflectionPad2d((kernel - 1) // 2),
        nn.Conv2d(inputs, outputs, kernel, stride),
    ]
    if norm:
        parts.append(nn.InstanceNorm2d(outputs))
    return parts + ([nn.ReLU(inplace=True)] if relu else [])


class Residual(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.body = nn.Sequential(
            *conv(width, width, 3, norm=norm),
            *conv(width, width, 3, norm=norm, relu=False),
        )

    def forward(self, x):
        return x + self.body(x)


class AdaptiveResidual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Sequential(*conv(width, width, 3, relu=False))
        self.second = nn.Sequential(*conv(width, width, 3, relu=False))

    def forward(self, x, parameters):
        def norm(x, own):
            shift, scale = own.chunk(2, 1)
            x = functional.instance_norm(x)
            return x * scale[..., None, None] + shift[..., None, None]

        first, second = parameters.chunk(2, 1)
        hidden = functional.relu(norm(self.first(x), first))
        return x + norm(self.second(hidden), second)


class ImageNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        flat = x.flatten(1)
        mean = flat.mean(1)[:, None, None, None]
        deviation = flat.std(1)[:, None, None, None]
        x = (x - mean) / (deviation + 1e-5)
        return x * self.scale[:, None, None] + self.shift[:, None, None]


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.content = nn.Sequential(
            *conv(1, 32, 7, norm=True),
            *conv(32, 64, 4, 2, norm=True),
            *conv(64, 128, 4, 2, norm=True),
            *(Residual(128, True) for _ in range(3)),
        )
        self.style = nn.Sequential(
            *conv(1, 32, 7),
            *conv(32, 64, 4, 2),
            *conv(64, 128, 4, 2),
            *(Residual(128, False) for _ in range(3)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(128, STYLE * len(LEVELS)),
        )
        self.mlp = nn.Sequential(
            nn.Linear(STYLE * len(LEVELS), 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, 1536),
        )
        self.blocks = nn.ModuleList(AdaptiveResidual(128) for _ in range(3))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2),
            *conv(128, 64, 5, relu=False),
            ImageNorm(64),
            nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=2),
            *conv(64, 32, 5, relu=False),
            ImageNorm(32),
            nn.ReLU(inplace=True),
            *conv(32, 1, 7, relu=False),
            nn.Tanh(),
        )

    def encode(self, x):
        return self.content(x), self.style(x)

    def decode(self, content, style):
        parameters = self.mlp(style).chunk(3, 1)
        for block, own in zip(self.blocks, parameters, strict=True):
            content = block(content, own)
        return self.up(content)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        parts, inputs = [], 1
        for outputs in (32, 64, 128, 256):
            parts += [
                nn.ReflectionPad2d(1),
                nn.Conv2d(inputs, outputs, 4, 2),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            inputs = outputs
        self.trunk = nn.Sequential(*parts)
        self.score = nn.Conv2d(256, 1, 1)
        self.heads = nn.ModuleList(nn.Conv2d(256, k, 1) for k in LEVELS)

    def forward(self, x):
        features = self.trunk(x)
        return self.score(features), [
            head(features).mean((2, 3)) for head in self.heads
        ]


def recombine(style, nodes):
    partner = torch.randperm(len(style))
    taken = torch.rand(len(style), len(LEVELS)) < 0.5
    codes = style.view(len(style), len(LEVELS), STYLE)
    mixed = torch.where(taken[..., None], codes[partner], codes)
    return mixed.flatten(1), torch.where(taken, nodes[partner], nodes)


def local_loss(logits, nodes):
    total = 0.0
    for level, values in enumerate(logits):
        for group in GROUPS[level]:
            own = nodes[:, level]
            rows = (own >= group.start) & (own < group.stop)
            if rows.any():
                total = total + functional.cross_entropy(
                    values[rows, group],
                    own[rows] - group.start,
                    reduction="sum",
                )
    return total / len(nodes)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--channels_last", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator, critic = Generator(), Critic()
    x = torch.rand(arguments.batch, 1, 28, 28) * 2 - 1
    if arguments.channels_last:
        generator = generator.to(memory_format=torch.channels_last)
        critic = critic.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    options = {"lr": 1e-4, "betas": (0.5, 0.999), "weight_decay": 1e-4}
    main_optimizer = torch.optim.Adam(generator.parameters(), **options)
    critic_optimizer = torch.optim.Adam(critic.parameters(), **options)
    leaves = torch.randint(0, 5, (arguments.batch,))
    nodes = torch.stack([(leaves > 2).long(), leaves], 1)

    def update_critic(content, style):
        critic_optimizer.zero_grad()
        with torch.no_grad():
            mixed, _ = recombine(style, nodes)
            fake = generator.decode(content, mixed)
        real_score, logits = critic(x)
        fake_score, _ = critic(fake)
        loss = ((1 - real_score) ** 2).mean() + (fake_score**2).mean()
        (loss + local_loss(logits, nodes)).backward()
        critic_optimizer.step()

    def update_main(content, style):
        main_optimizer.zero_grad()
        mixed, targets = recombine(style, nodes)
        restored = generator.decode(content, style)
        generated = generator.decode(content, mixed)
        again = generator.encode(generated)
        critic.requires_grad_(False)
        score, logits = critic(generated)
        loss = ((1 - score) ** 2).mean() + local_loss(logits, targets)
        loss = loss + 10 * (restored - x).abs().mean()
        loss = loss + (again[0] - content).abs().mean()
        loss = loss + (again[1] - mixed).abs().mean()
        loss.backward()
        critic.requires_grad_(True)
        main_optimizer.step()

    times = []
    for _ in range(arguments.steps + 3):
        start = time.perf_counter()
        if arguments.shared:
            content, style = generator.encode(x)
            update_critic(content.detach(), style.detach())
            update_main(content, style)
        else:
            with torch.no_grad():
                content, style = generator.encode(x)
            update_critic(content, style)
            update_main(*generator.encode(x))
        times.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(times[3:])
    print(
        json.dumps(
            {
                "peer": f"torch {torch.__version__}",
                "model": "hdn",
                "batch": arguments.batch,
                "shared": arguments.shared,
                "channels_last": arguments.channels_last,
                "ms_per_step": round(median, 2),
                "images_per_second": round(1e3 * arguments.batch / median),
            }
        )
    )


if __name__ == "__main__":
    main()
