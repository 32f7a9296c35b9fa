"""The drawing of a frontal phantom: each method returns the attenuation of one structure along the ray.

Conventions and signs are those of `xraytransfer.study.phantoms.drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from xraytransfer.study.phantoms.anatomy import Anatomy
from xraytransfer.study.phantoms.soft_shapes import Field, bar, cloud, edge, ellipse, grid

__all__ = ["Frontal"]


class Frontal:
    """One frontal picture while it is drawn."""

    def __init__(
        self,
        anatomy: Anatomy,
        severity: Mapping[str, float],
        generator: np.random.Generator,
        size: int,
        portable: bool,
    ) -> None:
        self.anatomy, self.severity, self.generator, self.size = anatomy, severity, generator, size
        self.portable = portable
        self.y, x = grid(size)
        collapse = severity["atelectasis"]
        middle = 0.5 + anatomy.tilt * (self.y - 0.5) + 0.02 * collapse * anatomy.side * edge(self.y - 0.5, 0.15)
        self.from_middle = x - middle
        self.base = anatomy.base - (0.05 if portable else 0.0)
        self.lungs = {side: self._lung(side) for side in (-1, 1)}

    def reach(self, side: int) -> Field:
        """Return the distance from the midline towards a side."""
        return side * self.from_middle

    def wall(self) -> Field:
        """Return the distance of the inside of the chest wall from the midline at each height."""
        down = np.clip((self.y - self.anatomy.apex) / (self.base + 0.1 - self.anatomy.apex), 0, 1.2)
        rise = np.sqrt(1 - (1 - np.clip(down / 0.42, 0, 1)) ** 2.4)
        wall: Field = self.anatomy.width * rise * (0.80 + 0.20 * np.clip(down, 0, 1))
        return wall

    def dome(self, side: int) -> Field:
        """Return the position of the diaphragm: higher on the right, and raised by collapse."""
        share = (self.reach(side) - 0.45 * self.anatomy.width) / (0.55 * self.anatomy.width)
        top = self.base - (0.025 if side < 0 else 0.0)
        if side == self.anatomy.side:
            top -= 0.06 * self.severity["atelectasis"]
        dome: Field = top + np.where(share > 0, 0.13, 0.05) * share**2
        return dome

    def _lung(self, side: int) -> Field:
        """Return the mask of one lung."""
        reach = self.reach(side)
        chest = edge(self.wall() - reach, 0.007) * edge(reach - 0.045 - 0.02 * self.y, 0.010)
        lung: Field = chest * edge(self.dome(side) - self.y, 0.006)
        return lung

    def attenuation(self) -> Field:
        """Return the sum of all structures."""
        heart = self._heart()
        air = self.lungs[-1] + self.lungs[1]
        total = self._body() - 0.80 * air * (1 - 0.9 * heart) * self.anatomy.tissue
        total += 0.14 * heart + self._middle() + self._bones(air)
        total += self._vessels() * air * (1 - 0.7 * heart) + self._edema(air)
        total += (self._consolidation() + self._atelectasis() + self._effusion()) * (1 - 0.85 * heart)
        if self.portable:
            total += self._lead()
        summed: Field = np.clip(total, 0, None)
        return summed

    def _body(self) -> Field:
        """Draw shoulders, trunk and belly, with gas in the stomach."""
        y, across = self.y, np.abs(self.from_middle)
        shoulder = 0.11 + 0.38 * np.clip((y - 0.01) / 0.20, 0, 1) ** 0.6
        half = np.where(y < 0.21, shoulder, 0.49 - 0.05 * np.clip((y - 0.21) / 0.3, 0, 1))
        inside = edge(half - across, 0.010)
        body: Field = self.anatomy.tissue * inside * (0.72 + 0.28 * np.clip(1 - (across / 0.5) ** 2, 0, 1))
        belly = edge(y - self.base - 0.06, 0.03)
        gas = ellipse(self.from_middle, y, (0.15, self.base + 0.11), (0.06, 0.03), 0.3)
        return body * (1 + 0.45 * belly) - 0.6 * gas * belly

    def _heart(self) -> Field:
        """Draw the heart: two thirds of it to the patient's left, resting on the diaphragm."""
        ratio = self.anatomy.heart + 0.20 * self.severity["cardiomegaly"] + (0.035 if self.portable else 0.0)
        breadth = 2 * self.anatomy.width * 0.97 * ratio
        blur = 0.10 + 0.10 * self.severity["edema"]
        low, height = self.base - 0.085, 0.17 + 0.15 * max(ratio - 0.45, 0)
        turned = self.y + 0.42 * (self.from_middle - 0.16 * breadth)
        left = ellipse(self.from_middle, turned, (0.15 * breadth, low), (0.52 * breadth, height), blur)
        right = ellipse(self.from_middle, self.y, (-0.08 * breadth, low - 0.03), (0.27 * breadth, height), blur)
        trunk = edge(0.045 + 0.35 * np.clip(self.y - 0.33, 0, 0.2) - np.abs(self.from_middle - 0.01), 0.02)
        trunk *= edge(self.y - 0.33, 0.04) * edge(low - self.y, 0.05)
        heart: Field = np.maximum(np.maximum(left, right), 0.8 * trunk)
        return heart

    def _middle(self) -> Field:
        """Draw mediastinum, spine, windpipe and aortic knob."""
        across, y = np.abs(self.from_middle), self.y
        column = edge(0.050 + 0.012 * y - across, 0.012)
        spine = edge(0.030 - across, 0.006) * (0.18 + 0.06 * np.sin(2 * np.pi * (y * 14)))
        windpipe = edge(0.016 - across, 0.005) * edge(0.36 - y, 0.02)
        knob = ellipse(self.from_middle, y, (0.055, 0.30), (0.035, 0.04), 0.15)
        middle: Field = column * 0.45 + spine - 0.30 * windpipe + 0.35 * knob
        return middle

    def _bones(self, air: Field) -> Field:
        """Draw ribs, collar bones, shoulder blades and upper arms."""
        bones = np.zeros_like(self.y)
        for side in (-1, 1):
            reach, wall = self.reach(side), self.wall()
            share = np.clip(reach / self.anatomy.width, 0, 1.3)
            cage = edge(wall + 0.012 - reach, 0.006) * edge(reach - 0.03, 0.01) * edge(0.93 - self.y, 0.02)
            for rib in range(9):
                height = self.anatomy.apex + 0.02 + 0.078 * rib
                back = self.y - (height - 0.04 * np.sin(np.pi * share) + 0.17 * share**2.5)
                bones += 0.13 * bar(back, 0.0105) * cage
                front = self.y - (height + 0.17 + 0.10 * (1 - share))
                bones += 0.06 * bar(front, 0.013) * cage * edge(share - 0.45, 0.06) * (rib < 7)
            collar = self.y - (self.anatomy.apex + 0.065 - 0.07 * share + 0.025 * np.sin(2 * np.pi * share))
            bones += 0.24 * bar(collar, 0.014) * edge(reach - 0.035, 0.01) * edge(0.41 - reach, 0.02)
            blade = np.abs(reach - self.anatomy.width * (0.86 if self.portable else 1.08) + 0.25 * (self.y - 0.3))
            bones += 0.12 * np.exp(-((blade / 0.008) ** 2)) * edge(self.y - 0.16, 0.02) * edge(0.46 - self.y, 0.03)
            humerus = edge(0.03 - np.abs(reach - 0.455 - 0.05 * (self.y - 0.2)), 0.008) * edge(self.y - 0.17, 0.02)
            bones += 0.25 * humerus * edge(0.6 - self.y, 0.2)
        return bones * (0.8 + 0.2 * air)

    def _vessels(self) -> Field:
        """Draw branching lines from both hila, thinner outwards."""
        scale = 3
        picture = Image.new("L", (self.size * scale,) * 2, 0)
        pen = ImageDraw.Draw(picture)
        thick = 1 + 1.3 * self.severity["edema"]
        for side in (-1, 1):
            for _ in range(15):
                angle = self.generator.uniform(-1.25, 1.35)
                x, y = 0.5 + side * 0.075, 0.44 + 0.05 * np.sin(angle)
                width = self.generator.uniform(0.006, 0.013) * thick
                for _ in range(9):
                    ahead = (x + side * 0.030 * np.cos(angle), y + 0.030 * np.sin(angle))
                    pixels = [value * self.size * scale for value in (x, y, *ahead)]
                    pen.line(pixels, fill=150, width=max(1, round(width * self.size * scale)))
                    (x, y), angle, width = ahead, angle + self.generator.normal(0, 0.22), width * 0.80
        picture = picture.filter(ImageFilter.GaussianBlur(self.size * scale * 0.003))
        small = picture.resize((self.size, self.size), Image.Resampling.BOX)
        hila = sum(ellipse(self.reach(side), self.y, (0.085, 0.45), (0.03, 0.055), 0.5) for side in (-1, 1))
        return 0.30 * np.asarray(small, np.float32) / 255 * thick + 0.13 * hila

    def _edema(self, air: Field) -> Field:
        """Draw haze around the hila, and septal lines at the bases."""
        severity = self.severity["edema"]
        if severity == 0:
            return np.zeros_like(self.y)
        haze = 0.65 + 0.7 * cloud(self.generator, self.size, 9)
        wings = sum(
            np.exp(-(((self.reach(side) - 0.13) / 0.12) ** 2) - ((self.y - 0.48) / 0.17) ** 2) for side in (-1, 1)
        )
        septal = np.zeros_like(self.y)
        for side in (-1, 1):
            near_wall = self.wall() - self.reach(side)
            for line in range(4):
                height = self.base - 0.03 - 0.028 * line + self.generator.normal(0, 0.004)
                septal += np.exp(-(((self.y - height) / 0.004) ** 2)) * edge(0.05 - near_wall, 0.008)
        total: Field = severity * (0.62 * haze * wings + 0.10 * septal + 0.07) * air
        return total

    def _consolidation(self) -> Field:
        """Draw a cloudy patch with air bronchograms."""
        severity = self.severity["consolidation"]
        if severity == 0:
            return np.zeros_like(self.y)
        side = self.anatomy.side
        reach = self.generator.uniform(0.13, 0.25)
        height = self.generator.uniform(0.30, self.base - 0.08)
        extent = 0.06 + 0.07 * severity
        distance = np.hypot((self.reach(side) - reach) / 1.0, (self.y - height) / 1.15)
        uneven = cloud(self.generator, self.size, 7)
        patch = edge(extent * (0.55 + 0.9 * uneven) - distance, 0.012)
        bronchi = np.zeros_like(self.y)
        for slope in self.generator.uniform(-0.9, 0.9, 3).tolist():  # air-filled branches that lead to the hilum
            off = (self.y - height) - slope * (self.reach(side) - reach) - 0.02 * np.sin(30 * self.reach(side))
            bronchi += np.exp(-((off / 0.006) ** 2))
        opaque = patch * (1 - 0.65 * np.clip(bronchi, 0, 1)) * (0.85 + 0.3 * uneven)
        opacity: Field = (0.25 + 0.45 * severity) * opaque * self.lungs[side]
        return opacity

    def _atelectasis(self) -> Field:
        """Draw bands at a base, and the density of the lung that is crowded there."""
        severity = self.severity["atelectasis"]
        if severity == 0:
            return np.zeros_like(self.y)
        side = self.anatomy.side
        bands = np.zeros_like(self.y)
        for band in range(1 + int(self.generator.integers(1, 3))):
            height = self.base - 0.06 - 0.05 * band - self.generator.uniform(0, 0.03)
            slope = self.generator.uniform(-0.35, 0.35)
            along = self.reach(side) - 0.45 * self.anatomy.width
            off = self.y - height - slope * along
            long = edge(self.generator.uniform(0.09, 0.14) - np.abs(along), 0.012)
            bands += np.exp(-((off / self.generator.uniform(0.008, 0.014)) ** 2)) * long
        crowded = 0.10 * np.exp(-(((self.y - self.base + 0.02) / 0.05) ** 2))
        opacity: Field = severity * (0.38 * np.clip(bands, 0, 1.3) + crowded) * self.lungs[side]
        return opacity

    def _effusion(self) -> Field:
        """Draw fluid that rises at the chest wall."""
        severity = self.severity["pleural_effusion"]
        total: Field = np.zeros_like(self.y)
        if severity == 0:
            return total
        sides = (-1, 1) if self.generator.random() < 0.35 else (self.anatomy.side,)
        for side in sides:
            reach, near_wall = self.reach(side), self.wall() - self.reach(side)
            level = self.base + 0.09 - 0.24 * severity
            surface = level - (0.04 + 0.07 * severity) * np.exp(-np.clip(near_wall, 0, 1) / 0.045)
            cavity = edge(near_wall, 0.007) * edge(reach - 0.06, 0.012)
            fluid = edge(self.y - surface, 0.010) * cavity * edge(self.dome(side) - self.y, 0.006)
            total += 0.72 * fluid * self.anatomy.tissue
        return total

    def _lead(self) -> Field:
        """Draw a central venous line and two electrodes."""
        path = self.from_middle + 0.055 - 0.09 * np.exp(-(((self.y - 0.06) / 0.09) ** 2))
        lead: Field = 0.22 * np.exp(-((path / 0.004) ** 2)) * edge(0.42 - self.y, 0.01)
        for _ in range(2):
            at = (self.generator.uniform(-0.3, 0.3), self.generator.uniform(0.25, 0.7))
            lead += 0.35 * ellipse(self.from_middle, self.y, at, (0.012, 0.012), 0.2)
        return lead
