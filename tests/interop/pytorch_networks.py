"""Networks as one writes them in PyTorch, with the module names that the published classes have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)


class Basic(nn.Module):
    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv(before, after, 3, stride), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = conv(after, after), nn.BatchNorm2d(after)
        self.downsample = nn.Sequential()
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


class ResNet8(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Basic(16, 16, 1))
        self.layer2 = nn.Sequential(Basic(16, 32, 2))
        self.layer3 = nn.Sequential(Basic(32, 64, 2))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


class ResNet18(nn.Module):
    """As torchvision has it, for images of 224x224."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Basic(64, 64, 1), Basic(64, 64, 1))
        self.layer2 = nn.Sequential(Basic(64, 128, 2), Basic(128, 128, 1))
        self.layer3 = nn.Sequential(Basic(128, 256, 2), Basic(256, 256, 1))
        self.layer4 = nn.Sequential(Basic(256, 512, 2), Basic(512, 512, 1))
        self.fc = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class VGG8(nn.Module):
    convolutions = 1  # in each block

    def __init__(self, classes: int):
        super().__init__()
        before = 3
        for stage, channels in enumerate((64, 128, 256, 512, 512)):
            block: list[nn.Module] = []
            for _ in range(self.convolutions):
                block += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
                before = channels
            setattr(self, f"block{stage}", nn.Sequential(*block))
        self.classifier = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        for stage in range(5):
            x = getattr(self, f"block{stage}")(F.max_pool2d(x, 2) if stage in (1, 2, 3) else x)
        return self.classifier(x.mean((2, 3)))


class VGG13(VGG8):
    convolutions = 2


class PreActivation(nn.Module):
    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(before), conv(before, after, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(after), conv(after, after)
        self.convShortcut = conv(before, after, 1, stride) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        beside = x if self.convShortcut is None else self.convShortcut(y)
        return beside + self.conv2(F.relu(self.bn2(self.conv1(y))))


class Stage(nn.Module):
    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.layer = nn.Sequential(PreActivation(before, after, stride), PreActivation(after, after, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WRN16x1(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.conv1 = conv(3, 16)
        self.block1, self.block2, self.block3 = Stage(16, 16, 1), Stage(16, 32, 2), Stage(32, 64, 2)
        self.bn1, self.fc = nn.BatchNorm2d(64), nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class Shuffled(nn.Module):
    """A block of ShuffleNetV2: pairs of a convolution and a batch norm by their numbers, in two chains."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        half, self.stride = after // 2, stride
        shapes = [(before if stride == 2 else half, half, 1, 1), (half, half, 3, stride), (half, half, 1, 1)]
        if stride == 2:
            shapes = [(before, before, 3, 2), (before, half, 1, 1), *shapes]
        for number, (wide, narrow, size, step) in enumerate(shapes, start=1):
            groups = wide if size == 3 else 1
            layer = nn.Conv2d(wide, narrow, size, step, padding=size // 2, groups=groups, bias=False)
            setattr(self, f"conv{number}", layer)
            setattr(self, f"bn{number}", nn.BatchNorm2d(narrow))

    def chain(self, x: Tensor, *numbers: int) -> Tensor:
        for number in numbers:
            layer, norm = getattr(self, f"conv{number}"), getattr(self, f"bn{number}")
            x = norm(layer(x))
            x = x if layer.groups > 1 else F.relu(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            parts = [self.chain(x, 1, 2), self.chain(x, 3, 4, 5)]
        else:
            left, right = x.chunk(2, dim=1)
            parts = [left, self.chain(right, 1, 2, 3)]
        return torch.stack(parts, dim=2).flatten(1, 2)


class ShuffleNetV2(nn.Module):
    widths = (116, 232, 464)

    def __init__(self, classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 24, 1), nn.BatchNorm2d(24)
        before = 24
        for stage, (after, blocks) in enumerate(zip(self.widths, (4, 8, 4), strict=True), start=1):
            chain = [Shuffled(after if i else before, after, 1 if i else 2) for i in range(blocks)]
            setattr(self, f"layer{stage}", nn.Sequential(*chain))
            before = after
        self.conv2, self.bn2 = conv(before, 1024, 1), nn.BatchNorm2d(1024)
        self.linear = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.relu(self.bn2(self.conv2(x))).mean((2, 3)))


class ShuffleNetV2Half(ShuffleNetV2):
    widths = (48, 96, 192)


def grouped(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, stride, padding=size // 2, groups=groups, bias=False)


class GroupedBottleneck(nn.Module):
    """A block of ShuffleNetV1, its pooled input beside its result where it strides."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        own = after - before if stride == 2 else after
        middle, self.stride, self.groups = own // 4, stride, 1 if before == 24 else 3
        self.conv1, self.bn1 = grouped(before, middle, 1, groups=self.groups), nn.BatchNorm2d(middle)
        self.conv2, self.bn2 = grouped(middle, middle, 3, stride, middle), nn.BatchNorm2d(middle)
        self.conv3, self.bn3 = grouped(middle, own, 1, groups=3), nn.BatchNorm2d(own)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = y.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        if self.stride == 1:
            return F.relu(x + y)
        return F.relu(torch.cat([y, F.avg_pool2d(x, 3, 2, padding=1)], dim=1))


class ShuffleNetV1(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 24, 1), nn.BatchNorm2d(24)
        before = 24
        for stage, (after, blocks) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
            chain = [GroupedBottleneck(after if i else before, after, 1 if i else 2) for i in range(blocks)]
            setattr(self, f"layer{stage}", nn.Sequential(*chain))
            before = after
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


class Inverted(nn.Module):
    def __init__(self, before: int, after: int, stride: int, expand: int):
        super().__init__()
        wide = before * expand
        self.conv = nn.Sequential(
            *(conv(before, wide, 1), nn.BatchNorm2d(wide), nn.ReLU()),
            *(grouped(wide, wide, 3, stride, wide), nn.BatchNorm2d(wide), nn.ReLU()),
            *(conv(wide, after, 1), nn.BatchNorm2d(after)),
        )
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Of half width."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv1 = nn.Sequential(conv(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU())
        stages, before = [], 16
        for number, (after, blocks) in enumerate(
            ((8, 1), (12, 2), (16, 3), (32, 4), (48, 3), (80, 3), (160, 1))
        ):
            chain = []
            for block in range(blocks):
                stride = 2 if block == 0 and number in (2, 3, 5) else 1
                chain.append(Inverted(before, after, stride, 6 if number else 1))
                before = after
            stages.append(nn.Sequential(*chain))
        self.blocks = nn.Sequential(*stages)
        self.conv2 = nn.Sequential(conv(before, 1280, 1), nn.BatchNorm2d(1280), nn.ReLU())
        self.classifier = nn.Sequential(nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.conv2(self.blocks(self.conv1(x))).mean((2, 3)))


class Regular(nn.Module):
    """A block of RegNetX, in groups of eight channels."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv(before, after, 1), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = grouped(after, after, 3, stride, after // 8), nn.BatchNorm2d(after)
        self.conv3, self.bn3 = conv(after, after, 1), nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class RegNetX200(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64), nn.BatchNorm2d(64)
        before = 64
        for stage, (after, blocks) in enumerate(((24, 1), (56, 1), (152, 4), (368, 7)), start=1):
            first = Regular(before, after, 2 if stage > 2 else 1)
            rest = [Regular(after, after, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *rest))
            before = after
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.linear(self.layer4(self.layer3(x)).mean((2, 3)))


NETWORKS = {
    "resnet8": ResNet8,
    "vgg8": VGG8,
    "wrn_16_1": WRN16x1,
    "resnet18_imagenet": ResNet18,
    "MobileNetV2": MobileNetV2,
    "ShuffleV1": ShuffleNetV1,
    "ShuffleV2": ShuffleNetV2,
    "ShuffleV2_0_5": ShuffleNetV2Half,
    "RegNetX_200MF": RegNetX200,
}
