"""The peer for ALI's speed: the same 32x32 network as a PyTorch user has it.

In an environment with torch:

    python benchmarks/peer_ali_torch.py --steps=20

Both updates from one forward pass, a reconstruction term, noise on the
critic's images, dropout in the critic: what tfdisent's step computes. Prints
one JSON line.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

SLOPE = 0.01
LATENT = 256


def conv(inputs, kernel, stride, filters, norm=True, dropout=False):
    parts = [nn.Dropout(0.2)] if dropout else []
    parts.append(nn.Conv2d(inputs, filters, kernel, stride, bias=not norm))
    if norm:
        parts.append(nn.BatchNorm2d(filters, momentum=0.05))
    return [*parts, nn.LeakyReLU(SLOPE)]


def deconv(inputs, kernel, stride, filters):
    return [
        nn.ConvTranspose2d(inputs, filters, kernel, stride, bias=False),
        nn.BatchNorm2d(filters, momentum=0.05),
        nn.LeakyReLU(SLOPE),
    ]


class Bias(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 32, 32))

    def forward(self, x):
        return x + self.bias


def dense(inputs, outputs):
    return [nn.Dropout(0.2), nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]


class ALI(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            *conv(1, 5, 1, 32),
            *conv(32, 4, 2, 64),
            *conv(64, 4, 1, 128),
            *conv(128, 4, 2, 256),
            *conv(256, 4, 1, 512),
            *conv(512, 1, 1, 512),
            nn.Flatten(),
            nn.Linear(512, 2 * LATENT),
        )
        self.generator = nn.Sequential(
            nn.Unflatten(1, (LATENT, 1, 1)),
            *deconv(LATENT, 4, 1, 256),
            *deconv(256, 4, 2, 128),
            *deconv(128, 4, 1, 64),
            *deconv(64, 4, 2, 32),
            *deconv(32, 5, 1, 32),
            *conv(32, 1, 1, 32),
            nn.Conv2d(32, 1, 1, bias=False),
            Bias(),
        )
        self.critic_image = nn.Sequential(
            *conv(1, 5, 1, 32, norm=False, dropout=True),
            *conv(32, 4, 2, 64, dropout=True),
            *conv(64, 4, 1, 128, dropout=True),
            *conv(128, 4, 2, 256, dropout=True),
            *conv(256, 4, 1, 512, dropout=True),
            nn.Flatten(),
        )
        self.critic_code = nn.Sequential(*dense(LATENT, 512), *dense(512, 512))
        self.critic_joint = nn.Sequential(
            *dense(1024, 1024),
            *dense(1024, 1024),
            nn.Dropout(0.2),
            nn.Linear(1024, 1),
        )

    def forward(self, x, z):
        mean, log_scale = self.encoder(x).chunk(2, -1)
        code = mean + log_scale.exp() * torch.randn_like(mean)
        fake = torch.sigmoid(self.generator(z))
        images = torch.cat([x, fake])
        images = images + 0.1 * torch.randn_like(images)
        features = self.critic_image(images)
        codes = self.critic_code(torch.cat([code, z]))
        logits = self.critic_joint(torch.cat([features, codes], -1))
        real, false = logits[:, 0].chunk(2)
        critic = (
            functional.softplus(-real) + functional.softplus(false)
        ).mean()
        main = (functional.softplus(real) + functional.softplus(-false)).mean()
        restored = torch.sigmoid(self.generator(mean))
        error = ((restored - x) ** 2).sum(dim=(1, 2, 3)).mean()
        return main + 0.01 * error, critic


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = ALI()
    own = [*model.encoder.parameters(), *model.generator.parameters()]
    other = [
        *model.critic_image.parameters(),
        *model.critic_code.parameters(),
        *model.critic_joint.parameters(),
    ]
    optimizers = [
        torch.optim.Adam(own, 1e-4, betas=(0.5, 0.999)),
        torch.optim.Adam(other, 1e-4, betas=(0.5, 0.999)),
    ]
    x = (torch.rand(arguments.batch, 1, 32, 32) > 0.9).float()
    times = []
    for _ in range(arguments.steps + 3):
        start = time.perf_counter()
        loss, critic = model(x, torch.randn(arguments.batch, LATENT))
        gradients = torch.autograd.grad(loss, own, retain_graph=True)
        for p, g in zip(own, gradients, strict=True):
            p.grad = g
        gradients = torch.autograd.grad(critic, other)
        for p, g in zip(other, gradients, strict=True):
            p.grad = g
        for optimizer in optimizers:
            optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(times[3:])
    print(
        json.dumps(
            {
                "peer": f"torch {torch.__version__}",
                "model": "ali",
                "batch": arguments.batch,
                "ms_per_step": round(median, 2),
                "images_per_second": round(1e3 * arguments.batch / median),
            }
        )
    )


if __name__ == "__main__":
    main()
