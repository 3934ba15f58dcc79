"""Tensors as pictures in a terminal."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from gridflow.cli.shell.pictures import as_rgb, decode, draw, is_picture_shape, scaled, sheet
from gridflow.errors import UsageError


@pytest.mark.parametrize(
    ("pixels", "first"),
    [
        (np.array([[0, 8], [16, 4]], np.uint8), [0, 0, 0]),  # grey bytes are stretched to their greatest
        (np.array([[16, 8], [0, 4]], np.uint8), [255, 255, 255]),
        (np.full((2, 2), 7, np.uint8), [255, 255, 255]),
        (np.zeros((2, 2), np.uint8), [0, 0, 0]),
        (np.array([[-1.0, 1.0]]), [0, 0, 0]),
        (np.array([[0.5, 0.25]]), [128, 128, 128]),  # floats within [0, 1] are taken as they are
        (np.array([[np.nan, np.inf]]), [0, 0, 0]),
        (np.array([[[10, 20, 30]]], np.uint8), [10, 20, 30]),  # so are bytes with colours
        (np.array([[[1.0, 0.5, 0.0]]], np.float32), [255, 128, 0]),
        (np.array([[[200, 100, 50, 0]]], np.uint8), [0, 0, 0]),  # transparent
        (np.array([[[200, 100, 50, 255]]], np.uint8), [200, 100, 50]),
        (np.full((3, 8, 8), 9, np.uint8), [9, 9, 9]),  # channels first
        (np.array([[True, False]]), [255, 255, 255]),
    ],
)
def test_any_tensor_of_a_pictures_shape_becomes_colours(pixels, first):
    assert is_picture_shape(pixels.shape)
    rgb = as_rgb(pixels)
    assert rgb.dtype == np.uint8 and rgb.shape[2] == 3
    assert rgb[0, 0].tolist() == first


def test_scaling_keeps_proportions_and_brightness():
    rgb = np.random.default_rng(0).integers(0, 256, (427, 640, 3), dtype=np.uint8)
    small = scaled(rgb, 80, 40)
    assert small.shape == (40, 60, 3)
    assert np.abs(small.mean((0, 1)) - rgb.mean((0, 1))).max() < 1
    assert scaled(rgb, 1, 1).shape == (1, 1, 3)


def test_shrinking_takes_means_of_areas_with_shares_of_pixels():
    row = np.array([[[0] * 3, [90] * 3, [180] * 3]], np.uint8)
    assert scaled(row, 2, 2)[0, :, 0].tolist() == [30, 150]  # (0 + 90/2) / 1.5, (90/2 + 180) / 1.5


def test_small_pictures_are_enlarged_by_a_whole_factor():
    rgb = as_rgb(np.eye(8))
    large = scaled(rgb, 80, 40)
    assert large.shape == (32, 32, 3) and (large[::4, ::4] == rgb).all()


def test_half_blocks_hold_two_pixels_and_repeat_no_colour():
    rgb = np.array([[[1, 2, 3], [1, 2, 3]], [[4, 5, 6], [4, 5, 6]], [[7, 8, 9], [7, 8, 9]]], np.uint8)
    assert draw(rgb, "truecolor") == [
        "\x1b[38;2;1;2;3;48;2;4;5;6m▀▀\x1b[0m",
        "\x1b[38;2;7;8;9;48;2;0;0;0m▀▀\x1b[0m",  # an odd height ends in black
    ]


def test_256_colours_are_the_nearest():
    rgb = np.array([[[255, 0, 0], [128, 128, 128]], [[95, 135, 175], [0, 0, 0]]], np.uint8)
    assert re.findall(r"[34]8;5;(\d+)", draw(rgb, "256")[0]) == ["196", "67", "244", "16"]


def test_without_colours_letters_stand_for_brightness():
    assert draw(np.array([[[0] * 3, [255] * 3], [[0] * 3, [255] * 3]], np.uint8), None) == [" @"]


def test_pictures_stand_side_by_side_as_long_as_there_is_room():
    pixels = np.ones((2, 2), np.uint8)
    lines = sheet(
        [("one", pixels), ("a title that is too long for its picture", pixels), ("three", pixels)], 70, 40, None
    )
    assert lines[0] == "one" + " " * 31 + "a title that is too long for it…"
    assert lines[1] == "@" * 32 + "  " + "@" * 32
    assert lines[17] == "three" and len(lines) == 34
    assert sheet([], 70, 40, None) == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_files_of_images_are_decoded(kind):
    image = pytest.importorskip("PIL.Image", reason="makes the file")
    data = io.BytesIO()
    image.new("RGB", (4, 2), (200, 100, 50)).save(data, kind)
    pixels = decode(data.getvalue())
    assert pixels.shape[:2] == (2, 4) and np.abs(pixels[0, 0, :3].astype(int) - (200, 100, 50)).max() < 8


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(UsageError, match="no PNG, JPEG"):
        decode(b"text")
    with pytest.raises(UsageError, match="cannot be read"):
        decode(b"\x89PNG\r\n\x1a\nand no more")
