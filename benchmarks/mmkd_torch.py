"""A plain PyTorch version of MMKD's cycle, for `mmkd_cycle.py` to measure beside jkd.

It computes the same terms the way one would write them in PyTorch: eager modules, the unrolled steps on
functional copies of the parameters, and automatic differentiation through them. Teacher outputs for the
buffer's batch are computed once. Images are resident, cropped, flipped and standardised as jkd's are, and a
step has the metrics that every step of jkd has. VGG only.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

CONVOLUTIONS = {"vgg8": 1, "vgg11": (1, 1, 2, 2, 2), "vgg13": 2}  # in each of five stages
TEMPERATURE, ALPHA, BETA = 4.0, 1.0, 100.0
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4
BUFFER = 256


class VGG(nn.Module):
    def __init__(self, name: str, classes: int):
        super().__init__()
        counts = CONVOLUTIONS[name]
        layers, before = [], 3
        for stage, channels in enumerate((64, 128, 256, 512, 512)):
            if 1 <= stage <= 3:
                layers.append(nn.MaxPool2d(2))
            for _ in range(counts if isinstance(counts, int) else counts[stage]):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
                before = channels
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return self.classifier(features.mean((2, 3))), features


def weight_network(inputs: int, teachers: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, inputs // 2), nn.ReLU(), nn.Linear(inputs // 2, teachers), nn.Softmax(dim=-1)
    )


def regressor(form: str, channels: int, to: int) -> nn.Module:
    half = channels // 2
    shapes = {
        "linear": [(channels, to, 1)],
        "conv": [(channels, half, 1), (half, half, 3), (half, to, 1)],
    }[form]
    layers = []
    for before, after, kernel in shapes:
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class Lower(nn.Module):
    """The student and its regressors: what the lower level trains."""

    def __init__(self, student: str, classes: int, teachers: int, form: str):
        super().__init__()
        self.student = VGG(student, classes)
        self.regressors = nn.ModuleList(regressor(form, 512, 512) for _ in range(teachers))

    def forward(self, images: Tensor, regress: bool = True) -> tuple[Tensor, Tensor, list[Tensor]]:
        logits, features = self.student(images)
        return logits, features, [r(features) for r in self.regressors] if regress else []


class Seen(NamedTuple):
    """A batch with what the teachers say of it."""

    images: Tensor
    labels: Tensor
    logits: list[Tensor]
    features: list[Tensor]


def augmented(images: Tensor) -> Tensor:
    """Crops out of a border of 4 zeros, flips and standardises images of bytes, each by chance."""
    count, _, height, width = images.shape
    padded = F.pad(images, (4, 4, 4, 4))
    rows, columns = (torch.randint(0, 9, (count, 1), device=images.device) for _ in range(2))
    rows, columns = (
        start + torch.arange(n, device=images.device) for start, n in ((rows, height), (columns, width))
    )
    flip = torch.rand((count, 1), device=images.device) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    each = torch.arange(count, device=images.device)[:, None, None]
    cropped = padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return (cropped.float() / 255 - 0.5) / 0.25


def norm(tensors: list[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


def gram(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return flat @ flat.T


class Cycle:
    """MMKD on random images: `train` takes one step, `update_weight_networks` one of the upper level."""

    def __init__(
        self,
        device: torch.device,
        student: str,
        teachers: list[str],
        *,
        classes: int,
        batch_size: int,
        image_size: int,
        regressor: str,
    ):
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(0)
        count, shape = len(teachers), (10 * batch_size, 3, image_size, image_size)
        self.batch_size = batch_size
        self.images = torch.randint(0, 256, shape, device=device, dtype=torch.uint8)
        self.labels = torch.randint(0, classes, shape[:1], device=device)
        self.buffer_images = torch.randn((BUFFER, *shape[1:]), device=device)
        self.buffer_labels = torch.randint(0, classes, (BUFFER,), device=device)
        self.totals: dict[str, Tensor] = {}
        self.teachers = [VGG(name, classes).to(device).eval() for name in teachers]
        self.lower = Lower(student, classes, count, regressor).to(device)
        self.of_logits = weight_network(classes * (count + 1), count).to(device)
        self.of_features = weight_network(batch_size * (count + 1), count).to(device)
        self.optimizer = torch.optim.SGD(
            self.lower.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
        )
        self.upper = [*self.of_logits.parameters(), *self.of_features.parameters()]
        self.upper_optimizer = torch.optim.Adam(self.upper, 1e-3, weight_decay=1e-4)

    def see(self, images: Tensor, labels: Tensor) -> Seen:
        with torch.no_grad():
            logits, features = zip(*(teacher(images) for teacher in self.teachers), strict=True)
        return Seen(images, labels, list(logits), list(features))

    def matching(self, seen: Seen, logits: Tensor, features: Tensor, mapped: list[Tensor]) -> Tensor:
        w = self.of_logits(torch.cat([*seen.logits, logits.detach()], dim=1))
        u = self.of_features(torch.cat([gram(f) for f in (*seen.features, features.detach())], dim=1))
        log_student = F.log_softmax(logits / TEMPERATURE, dim=1)
        targets = [F.softmax(t / TEMPERATURE, dim=1) for t in seen.logits]
        kds = [TEMPERATURE**2 * F.kl_div(log_student, t, reduction="none").sum(1) for t in targets]
        errors = [((m - f) ** 2).mean((1, 2, 3)) for m, f in zip(mapped, seen.features, strict=True)]
        weighted = ALPHA * w * torch.stack(kds, 1) + BETA * u * torch.stack(errors, 1)
        return weighted.sum(1).mean()

    def train(self) -> None:
        chosen = torch.randint(0, len(self.labels), (self.batch_size,), device=self.labels.device)
        seen = self.see(augmented(self.images[chosen]), self.labels[chosen])
        logits, features, mapped = self.lower(seen.images)
        loss = F.cross_entropy(logits, seen.labels) + self.matching(seen, logits, features, mapped)
        self.optimizer.zero_grad()
        loss.backward()
        student = list(self.lower.student.parameters())
        before = [p.detach().clone() for p in student]
        self.optimizer.step()
        wrong = logits.argmax(1) != seen.labels
        self.count(loss, wrong, student, before)
        places = torch.randperm(BUFFER, device=wrong.device)[: int(wrong.sum())]
        self.buffer_images[places], self.buffer_labels[places] = seen.images[wrong], seen.labels[wrong]

    @torch.no_grad()
    def count(self, loss: Tensor, wrong: Tensor, student: list[Tensor], before: list[Tensor]) -> None:
        """Adds a step's metrics to their totals."""
        metrics = {
            "loss": loss.detach(),
            "top1": 1 - wrong.float().mean(),
            "gradient_norm": norm([p.grad for p in student]),
            "update_norm": norm([p - b for p, b in zip(student, before, strict=True)]),
            "parameter_norm": norm(student),
        }
        self.totals = {name: value + self.totals.get(name, 0) for name, value in metrics.items()}

    def update_weight_networks(self) -> None:
        chosen = torch.randperm(BUFFER, device=self.labels.device)[: self.batch_size]
        seen = self.see(self.buffer_images[chosen], self.buffer_labels[chosen])
        start = dict(self.lower.named_parameters())
        parameters = dict(start)
        momentum = {name: self.optimizer.state[p]["momentum_buffer"] for name, p in start.items()}
        # Copies, so that the running averages stay as they are.
        buffers = {name: b.clone() for name, b in self.lower.named_buffers()}

        def call(regress: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
            return functional_call(self.lower, {**parameters, **buffers}, (seen.images, regress))

        for matching in (True, True, False):
            logits, features, mapped = call(matching)
            loss = (
                self.matching(seen, logits, features, mapped)
                if matching
                else F.cross_entropy(logits, seen.labels)
            )
            trained = [n for n in parameters if matching or n.startswith("student")]
            gradients = torch.autograd.grad(loss, [parameters[n] for n in trained], create_graph=True)
            for name, gradient in zip(trained, gradients, strict=True):
                decayed = gradient + WEIGHT_DECAY * parameters[name]
                momentum[name] = MOMENTUM * momentum[name] + decayed
                step = decayed + MOMENTUM * momentum[name]
                parameters[name] = parameters[name] - LEARNING_RATE * step
        outer = F.cross_entropy(call(False)[0], seen.labels)
        self.upper_optimizer.zero_grad()
        for parameter, gradient in zip(self.upper, torch.autograd.grad(outer, self.upper), strict=True):
            parameter.grad = gradient
        self.upper_optimizer.step()
