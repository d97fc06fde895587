"""Figures that the BitMoD paper [HPCA 2025, arXiv 2411.11745] published, as its plots hold them.

Cycles and energies are the arrays that the authors' notebooks plot (github.com/abdelfattah-lab/BitMoD-HPCA-25,
`sim/plot/speedup_plot.ipynb` and `sim/plot/energy_plot.ipynb`): Figures 7 and 8. Means are those of the evaluation's
text. Models stand in the order of :data:`.models.MODELS`.
"""

__all__ = ["CYCLES", "ENERGIES", "ENERGY_GAINS", "LATER_CYCLES", "SPEED_UPS"]

# Cycles by accelerator and phase: 256 tokens at once, one token after 256.
CYCLES = {
    "FP16": {
        "prefill": (669255680, 1399816192, 2878668800, 3156574208, 6676111360, 3969089536),
        "decode": (82153718, 165841248, 362970848, 413518608, 804330080, 469624976),
    },
    "BitMoD lossless": {
        "prefill": (336236544, 693780480, 1414209536, 1649680384, 3537397760, 1901133824),
        "decode": (31220054, 62986912, 137681120, 156919888, 305157360, 178109840),
    },
    "BitMoD lossy": {
        "prefill": (233070592, 515194880, 946937856, 1202921472, 2601461760, 1273233408),
        "decode": (15857750, 31959712, 69662944, 79493200, 154552560, 90099088),
    },
    "ANT": {
        "prefill": (440975360, 847773696, 1734868992, 1949564928, 4076584960, 2266234880),
        "decode": (25779238, 51998112, 119342816, 129497936, 251907680, 132370576),
    },
    "OliVe": {
        "prefill": (403718144, 779268096, 1575157760, 1768062976, 3648512000, 2008645632),
        "decode": (20018374, 41655712, 96691936, 97236816, 189155680, 105031744),
    },
}

# Energies [uJ] by accelerator and phase: on chip, and with DRAM.
ENERGIES = {
    "FP16": {
        "prefill": (
            (656667, 2549498),
            (1273252, 6252349),
            (2614171, 13014774),
            (2928682, 15511220),
            (5742951, 36365138),
            (3279511, 18528840),
        ),
        "decode": (
            (25745, 419862),
            (51929, 847599),
            (113537, 1854106),
            (129318, 2113617),
            (251588, 4110960),
            (146812, 2399478),
        ),
    },
    "BitMoD lossless": {
        "prefill": (
            (317887, 1272043),
            (615118, 3020095),
            (1255562, 5452484),
            (1410390, 7186699),
            (2763255, 16664646),
            (1572255, 7727074),
        ),
        "decode": (
            (15691, 165547),
            (31662, 334000),
            (69245, 729367),
            (78882, 832097),
            (153502, 1618257),
            (89561, 943899),
        ),
    },
    "BitMoD lossy": {
        "prefill": (
            (221382, 986623),
            (428524, 2315439),
            (871622, 3820005),
            (981870, 5388371),
            (1924566, 12460765),
            (1091548, 5416024),
        ),
        "decode": (
            (10470, 86588),
            (21129, 174535),
            (46198, 380148),
            (52631, 434198),
            (102418, 844271),
            (59753, 491953),
        ),
    },
    "ANT": {
        "prefill": (
            (459880, 1360903),
            (888236, 3147508),
            (1815179, 5659691),
            (2035862, 7426912),
            (3981122, 16936053),
            (2270541, 7910575),
        ),
        "decode": (
            (22139, 145879),
            (44668, 294259),
            (97934, 669718),
            (111292, 732882),
            (216575, 1425302),
            (125750, 760225),
        ),
    },
    "OliVe": {
        "prefill": (
            (501789, 1308354),
            (969019, 2969260),
            (1960581, 5182082),
            (2192068, 6898215),
            (4285634, 15557969),
            (2440769, 7165633),
        ),
        "decode": (
            (23250, 119339),
            (46840, 246787),
            (104204, 567264),
            (115455, 582192),
            (225859, 1133377),
            (131179, 624942),
        ),
    },
}

# Mean speed-ups: accelerator, over which, discriminative (prefill), generative (prefill and 20 tokens). The first line
# has the digits of the notebook; the text rounds it to 1.99 and 2.41.
SPEED_UPS = (
    ("BitMoD lossless", "FP16", 1.989, 2.408),
    ("BitMoD lossy", "ANT", 1.72, 1.66),
    ("BitMoD lossy", "OliVe", 1.56, 1.39),
)

# Mean gains in energy: accelerator, over which, mean of both tasks.
ENERGY_GAINS = (
    ("BitMoD lossless", "FP16", 2.31),
    ("BitMoD lossy", "ANT", 1.48),
    ("BitMoD lossy", "OliVe", 1.31),
)

# Cycles of Llama-2-7B (prefill, decode) in the simulator that the authors' repository holds since (`bitmod_sim/`),
# whose attention is computed by head and whose KV cache has 8 bits: run, not published.
LATER_CYCLES = {
    "FP16": (2810544128, 417344208),
    "BitMoD lossless": (1372856320, 158771152),
    "BitMoD lossy": (926097408, 81344464),
}
