"""Writes a small copy of an image and prints its size as JSON. Needs Pillow: sudo apt install python3-pil"""

import argparse
import json
import os
import sys
import warnings

try:
    from PIL import Image, UnidentifiedImageError
except ImportError:
    sys.exit("Pillow is not installed: sudo apt install python3-pil")

MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
ENDINGS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
ORIENTATION = 0x0112
_HOW = getattr(Image, "Transpose", Image)
TURNS = {
    2: _HOW.FLIP_LEFT_RIGHT,
    3: _HOW.ROTATE_180,
    4: _HOW.FLIP_TOP_BOTTOM,
    5: _HOW.TRANSPOSE,
    6: _HOW.ROTATE_270,
    7: _HOW.TRANSVERSE,
    8: _HOW.ROTATE_90,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    kind = ENDINGS.get(os.path.splitext(given.output)[1].lower())
    if kind is None:
        return fail(f"{given.output} must end in .jpg, .png or .webp")
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None
    try:
        small = thumbnail(given.file, given.size, kind)
        save(small, given.output, kind)
    except FileExistsError:
        return fail(f"{given.output} is there already; name another file")
    except UnidentifiedImageError:
        return fail(f"{given.file} is no PNG, JPEG, GIF, WebP or BMP image")
    except OSError as error:
        return fail(f"{error.filename or given.file}: {error.strerror or 'it is damaged'}")
    except (ValueError, SyntaxError) as error:
        return fail(f"{given.file}: {error}")
    print(json.dumps({"width": small.width, "height": small.height, "bytes": os.path.getsize(given.output)}))
    return 0


def thumbnail(path: str, size: int, kind: str) -> Image.Image:
    """The picture, turned upright, and small, without what a camera wrote beside it."""
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"it has more than {MAX_PIXELS // 1_000_000} million pixels")
        image.draft("RGB", (size * 2, size * 2))
        small = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    small.thumbnail((size, size))
    if turn is not None:
        small = small.transpose(turn)
    if kind == "JPEG" and small.mode == "RGBA":
        paper = Image.new("RGB", small.size, "white")
        paper.paste(small, mask=small.getchannel("A"))
        small = paper
    bare = Image.new(small.mode, small.size)
    bare.paste(small)
    return bare


def save(small: Image.Image, path: str, kind: str) -> None:
    """A new file, or none where it cannot be written whole."""
    with open(path, "xb") as file:
        try:
            small.save(file, kind)
        except BaseException:
            os.unlink(path)
            raise


def fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
