"""Painters of the synthetic stream images, one for each kind of scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

_SKIN: tuple[Colour, ...] = (
    (250, 214, 184),
    (236, 188, 148),
    (214, 158, 114),
    (176, 118, 78),
    (132, 86, 56),
)
_HAIR: tuple[Colour, ...] = (
    (30, 24, 22),
    (84, 52, 30),
    (190, 150, 80),
    (150, 66, 34),
    (170, 170, 172),
)
_VIVID: tuple[Colour, ...] = (
    (214, 40, 40),
    (28, 92, 200),
    (30, 150, 84),
    (246, 192, 24),
    (240, 124, 24),
    (128, 56, 168),
    (20, 20, 28),
)
_SKY: tuple[tuple[Colour, Colour], ...] = (
    ((90, 160, 236), (206, 232, 252)),
    ((64, 120, 214), (176, 214, 246)),
    ((120, 110, 190), (252, 184, 140)),
    ((150, 190, 220), (226, 236, 240)),
)
_GROUND: tuple[Colour, ...] = ((70, 136, 62), (104, 150, 70), (206, 180, 116), (36, 96, 150))
_METAL: tuple[Colour, ...] = ((240, 194, 56), (228, 176, 40), (206, 210, 218))


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _vary(rng: np.random.Generator, colour: Colour, amount: int = 14) -> Colour:
    shifts = rng.integers(-amount, amount + 1, 3).tolist()
    red, green, blue = (min(max(c + by, 0), 255) for c, by in zip(colour, shifts, strict=True))
    return red, green, blue


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(int(c * factor), 255) for c in colour)
    return red, green, blue


def _gradient(width: int, height: int, top: Colour, bottom: Colour) -> Image.Image:
    weight = np.linspace(0.0, 1.0, height)[:, None, None]
    rows = (1 - weight) * np.array(top) + weight * np.array(bottom)
    return Image.fromarray(np.broadcast_to(rows, (height, width, 3)).astype(np.uint8))


def _portrait(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A face over shoulders before a plain, muted backdrop."""
    wall = _vary(rng, (148, 152, 158), 38)
    image = _gradient(width, height, _shade(wall, 1.12), _shade(wall, 0.86))
    draw = ImageDraw.Draw(image)
    skin, hair = _vary(rng, _pick(rng, _SKIN), 8), _vary(rng, _pick(rng, _HAIR), 10)
    coat = _vary(rng, _pick(rng, _VIVID), 20)
    middle = width * (0.5 + rng.uniform(-0.07, 0.07))
    radius = min(width * 0.36, height * 0.25) * rng.uniform(0.9, 1.1)
    eyes = height * rng.uniform(0.38, 0.46)
    chest = eyes + radius * 1.25
    draw.ellipse((middle - radius * 2, chest, middle + radius * 2, height * 1.5), fill=coat)
    draw.rectangle((middle - radius / 3, eyes, middle + radius / 3, chest + radius / 3), fill=skin)
    long_hair = rng.random() < 0.5
    fall = eyes + radius * (1.5 if long_hair else 0.1)
    box = (middle - radius * 1.15, eyes - radius * 1.45, middle + radius * 1.15, fall)
    draw.rounded_rectangle(box, radius=radius, fill=hair)
    oval = (middle - radius * 0.9, eyes - radius, middle + radius * 0.9, eyes + radius * 1.25)
    draw.ellipse(oval, fill=skin)
    dot = max(1.0, radius * 0.13)
    for side in (-0.4, 0.4):
        x = middle + side * radius
        draw.ellipse((x - dot, eyes - dot, x + dot, eyes + dot), fill=(24, 22, 26))
    lips = (middle - radius * 0.4, eyes + radius * 0.35, middle + radius * 0.4, eyes + radius * 0.8)
    draw.arc(lips, 20, 160, fill=(150, 50, 50), width=max(1, round(dot)))
    return image


def _landscape(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Sky above ground, with hills or a skyline between them."""
    top, low = _SKY[int(rng.integers(len(_SKY)))]
    image = _gradient(width, height, _vary(rng, top), _vary(rng, low))
    draw = ImageDraw.Draw(image)
    horizon = height * rng.uniform(0.56, 0.7)
    sun = (rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.3) * height)
    spot = min(width, height) * 0.09
    draw.ellipse((sun[0] - spot, sun[1] - spot, sun[0] + spot, sun[1] + spot), fill=(255, 242, 170))
    if rng.random() < 0.5:
        rock = _vary(rng, (96, 104, 124), 16)
        for _ in range(3):
            foot, reach = rng.uniform(0, width), width * rng.uniform(0.3, 0.6)
            tip = horizon - height * rng.uniform(0.16, 0.36)
            edge = ((foot - reach, horizon), (foot, tip), (foot + reach, horizon))
            draw.polygon(edge, fill=_vary(rng, rock, 10))
    else:
        left = 0.0
        while left < width:
            wide = height * rng.uniform(0.08, 0.16)
            roof = horizon - height * rng.uniform(0.06, 0.34)
            tower = _vary(rng, (92, 96, 112), 26)
            draw.rectangle((left, roof, left + wide, horizon), fill=tower)
            left += wide + 1
    ground = _vary(rng, _pick(rng, _GROUND), 12)
    draw.rectangle((0, horizon, width, height), fill=ground)
    draw.rectangle((0, (horizon + height) / 2, width, height), fill=_shade(ground, 0.86))
    return image


def _flag(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Two or three bands of plain colour from edge to edge, under a strip of sky."""
    image = _gradient(width, height, (150, 196, 238), (196, 222, 244))
    draw = ImageDraw.Draw(image)
    bands = 3 if rng.random() < 0.75 else 2
    choice = rng.permutation(len(_VIVID))[:bands]
    colours = [_vary(rng, _VIVID[int(index)], 10) for index in choice]
    if bands == 3 and rng.random() < 0.6:
        colours[1] = (246, 246, 246)
    top, bottom = height * rng.uniform(0.08, 0.18), height * rng.uniform(0.82, 0.94)
    left = width * 0.08
    upright = rng.random() < 0.4
    for number, colour in enumerate(colours):
        start, end = number / bands, (number + 1) / bands
        if upright:
            box = (left + start * (width - left), top, left + end * (width - left), bottom)
        else:
            box = (left, top + start * (bottom - top), width, top + end * (bottom - top))
        draw.rectangle(box, fill=colour)
    draw.rectangle((0, 0, left, height), fill=(92, 84, 76))
    return image


def _logo(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """One bold emblem over a word mark on white."""
    paper = _vary(rng, (248, 248, 248), 7)
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    ink = _vary(rng, _pick(rng, _VIVID), 16)
    x = width * (0.5 + rng.uniform(-0.05, 0.05))
    y = height * (0.4 + rng.uniform(-0.05, 0.05))
    size = min(width * 0.38, height * 0.27) * rng.uniform(0.85, 1.1)
    shape = int(rng.integers(5))
    box = (x - size, y - size, x + size, y + size)
    if shape == 0:
        draw.ellipse(box, outline=ink, width=max(2, round(size * 0.42)))
    elif shape == 1:
        draw.polygon(((x, y - size), (x + size, y), (x, y + size), (x - size, y)), fill=ink)
    elif shape == 2:
        draw.polygon(((x, y - size), (x + size, y + size), (x - size, y + size)), fill=ink)
    elif shape == 3:
        draw.rounded_rectangle(box, radius=size * 0.4, fill=ink)
        cut = size * 0.45
        draw.ellipse((x - cut, y - cut, x + cut, y + cut), fill=paper)
    else:
        for shift in (-1.0, -0.25, 0.5):
            draw.rectangle((x + shift * size, y - size, x + (shift + 0.5) * size, y + size), ink)
    reach, line = width * rng.uniform(0.28, 0.4), height * rng.uniform(0.78, 0.84)
    draw.rectangle((x - reach, line, x + reach, line + height * 0.07), fill=_shade(ink, 0.7))
    return image


def _poster(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A film poster: dark frame, glowing image, pale title lines below."""
    image = Image.new("RGB", (width, height), _vary(rng, (22, 18, 26), 10))
    draw = ImageDraw.Draw(image)
    glow = _vary(rng, _pick(rng, _VIVID[:6]), 24)
    x0, y0 = round(width * rng.uniform(0.1, 0.18)), round(height * rng.uniform(0.06, 0.12))
    x1, y1 = width - x0, round(height * rng.uniform(0.6, 0.68))
    image.paste(_gradient(x1 - x0, y1 - y0, _shade(glow, 0.45), glow), (x0, y0))
    spot, middle = (x1 - x0) * rng.uniform(0.16, 0.24), (x0 + x1) / 2
    center = y0 + (y1 - y0) * rng.uniform(0.4, 0.55)
    disc = (middle - spot, center - spot, middle + spot, center + spot)
    draw.ellipse(disc, fill=_shade(glow, 0.25))
    draw.rectangle((middle - spot * 0.7, center, middle + spot * 0.7, y1), fill=_shade(glow, 0.25))
    for number, reach in enumerate((0.42, 0.3, 0.36)):
        line = height * (0.73 + 0.085 * number)
        pale = (236, 226, 190) if number == 0 else (150, 146, 150)
        box = (width * (0.5 - reach), line, width * (0.5 + reach), line + height * 0.035)
        draw.rectangle(box, fill=pale)
    return image


def _trophy(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A metal cup on a dark stage with confetti."""
    stage = _vary(rng, (70, 22, 44), 24) if rng.random() < 0.5 else _vary(rng, (24, 30, 74), 24)
    image = _gradient(width, height, _shade(stage, 0.7), _shade(stage, 1.25))
    draw = ImageDraw.Draw(image)
    metal = _vary(rng, _pick(rng, _METAL), 14)
    x = width * (0.5 + rng.uniform(-0.06, 0.06))
    size = min(width * 0.34, height * 0.3) * rng.uniform(0.9, 1.1)
    rim = height * rng.uniform(0.18, 0.26)
    ring = max(2, round(size * 0.16))
    for side in (-1, 1):
        ear, mid = x + side * size * 0.85, rim + size * 0.5
        box = (ear - size * 0.4, mid - size * 0.4, ear + size * 0.4, mid + size * 0.4)
        draw.ellipse(box, outline=_shade(metal, 0.85), width=ring)
    draw.pieslice((x - size * 0.85, rim - size, x + size * 0.85, rim + size * 1.3), 0, 180, metal)
    draw.rectangle((x - size * 0.85, rim, x + size * 0.85, rim + size * 0.25), fill=metal)
    foot = height * 0.8
    draw.rectangle((x - size * 0.17, rim + size, x + size * 0.17, foot), fill=_shade(metal, 0.85))
    draw.rectangle((x - size * 0.6, foot - size * 0.15, x + size * 0.6, foot), fill=metal)
    draw.rectangle((x - size * 0.8, foot, x + size * 0.8, height * 0.9), fill=(58, 40, 28))
    flake = height / 32
    for _ in range(10):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height * 0.9)
        draw.rectangle((cx, cy, cx + flake, cy + flake), fill=_pick(rng, _VIVID[:6]))
    return image


def _clutter(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Blocks, lines and noise that stand for nothing."""
    start = rng.integers(40, 216, 3)
    image = Image.new("RGB", (width, height), (int(start[0]), int(start[1]), int(start[2])))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(9, 16))):
        red, green, blue = (int(value) for value in rng.integers(20, 236, 3))
        x, y = rng.uniform(-0.2, 0.9) * width, rng.uniform(-0.2, 0.9) * height
        w, h = rng.uniform(0.1, 0.6) * width, rng.uniform(0.1, 0.6) * height
        if rng.random() < 0.5:
            draw.rectangle((x, y, x + w, y + h), fill=(red, green, blue))
        else:
            draw.line((x, y, x + w, y + h), fill=(red, green, blue), width=max(2, width // 16))
    coarse = rng.normal(0, 34, ((height + 1) // 2, (width + 1) // 2, 3))
    grain = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    pixels = np.asarray(image, dtype=np.float64) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


SCENES: dict[str, Callable[[np.random.Generator, int, int], Image.Image]] = {
    "portrait": _portrait,
    "landscape": _landscape,
    "flag": _flag,
    "logo": _logo,
    "poster": _poster,
    "trophy": _trophy,
    "clutter": _clutter,
}
"""Kind -> painter ``(rng, width, height) -> RGB image``, both sides in pixels."""

SCENES_OF: dict[str, tuple[str, ...]] = {
    "PER": ("portrait",),
    "LOC": ("landscape", "flag"),
    "ORG": ("logo",),
    "MISC": ("poster", "trophy"),
}
"""Entity type -> kinds of image that show it."""
