"""Makes agent/qr_display/fonts/*.otf from the Inter fonts: `python subset_fonts.py /usr/share/fonts/opentype/inter OUT` (needs fonttools).

Keeps Latin, Greek and Cyrillic, drops layout tables, and makes the tabular figures the only ones, all of one width, so that a running
counter does not tremble. (The figures of the Display cut are not all equally wide, so they are centred on the widest.)
"""

import sys
from io import BytesIO
from pathlib import Path

from fontTools import subset
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.transformPen import TransformPen
from fontTools.ttLib import TTFont

RANGES = (
    (0x20, 0x7E), (0xA0, 0x17F), (0x18F, 0x18F), (0x192, 0x192), (0x1CD, 0x1DC), (0x1FC, 0x21B), (0x2C6, 0x2DD), (0x37E, 0x3CE),
    (0x400, 0x45F), (0x490, 0x49B), (0x4A2, 0x4A3), (0x4AE, 0x4B3), (0x4BA, 0x4BB), (0x4D8, 0x4D9), (0x4E8, 0x4E9), (0x1E80, 0x1E85),
    (0x1E9E, 0x1E9E), (0x1EF2, 0x1EF3), (0x2000, 0x200A), (0x2010, 0x2026), (0x202F, 0x2030), (0x2032, 0x2033), (0x2039, 0x203A),
    (0x20A0, 0x20C0), (0x2116, 0x2116), (0x2122, 0x2122), (0x2190, 0x2193), (0x2212, 0x2212), (0x2248, 0x2248),
)  # fmt: skip
UNICODES = [code for first, last in RANGES for code in range(first, last + 1)]
CUTS = ("Inter-Medium", "Inter-Bold", "InterDisplay-Bold")


def _subset(font: TTFont, features: list[str]) -> None:
    options = subset.Options(
        layout_features=features, hinting=True, desubroutinize=True, notdef_outline=True, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14]
    )
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=UNICODES)
    subsetter.subset(font)


def _tabular(font: TTFont) -> None:
    single: dict[str, str] = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            single.update(getattr(getattr(table, "ExtSubTable", table), "mapping", {}))
    cmap = font.getBestCmap()
    figures = {ord(digit): single.get(cmap[ord(digit)], cmap[ord(digit)]) for digit in "0123456789"}
    width = max(font["hmtx"][glyph][0] for glyph in figures.values())
    glyphs, top = font.getGlyphSet(), font["CFF "].cff.topDictIndex[0]
    for code, glyph in figures.items():
        shift = (width - font["hmtx"][glyph][0]) // 2
        pen = T2CharStringPen(width - top.Private.nominalWidthX, glyphs)
        glyphs[glyph].draw(TransformPen(pen, (1, 0, 0, 1, shift, 0)))
        top.CharStrings[glyph] = pen.getCharString(private=top.Private, globalSubrs=top.GlobalSubrs)
        font["hmtx"][glyph] = (width, font["hmtx"][glyph][1] + shift)
        for table in font["cmap"].tables:
            if code in table.cmap:
                table.cmap[code] = glyph
    for tag in ("GSUB", "GPOS", "GDEF"):
        if tag in font:
            del font[tag]


def main(source: Path, target: Path) -> None:
    """Writes one subset per cut."""
    for cut in CUTS:
        font = TTFont(source / f"{cut}.otf")
        _subset(font, ["tnum"])
        _tabular(font)
        buffer = BytesIO()
        font.save(buffer)
        font = TTFont(buffer)
        _subset(font, [])
        font["post"].formatType = 3.0
        font.save(target / f"{cut}.otf")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
