"""Text tables of loggers, phones and laboratory programs whose reading docs/measurements/reading.md shows."""

import numpy as np

from tests.support.strangers import TIME_S, Case, N, X, frame, rows, text

MS = np.arange(N)
BURSTS_S = MS // 8 * 0.008
COUNTS = (np.arange(N) * 7919) % 3001 - 1500
EMPTY = [""] * N
CODED = [-9999 if i in (70, 71) else x for i, x in enumerate(X[0])]
BIOPAC = "r.acq\n1 msec/sample\n1 channels\nACC\ng\nmin\tCH1\n"
LABCHART = "Interval=\t0.001 s\nChannelTitle=\tseat\tECG\n"

TABLE_CASES = (
    Case(
        "clock",
        "`Laufzeit [min]`",
        text("n.csv", "Laufzeit [min],acc\n" + rows([f"{t / 60:.12f}" for t in TIME_S], X[0])),
        frame(1000.0, {"acc": "acc"}),
        "pandas",
    ),
    Case("clock", "`Depth (mm)`", text("n.csv", "Depth (mm),acc\n" + rows(TIME_S, X[0])), refused="none of time"),
    Case(
        "clock",
        "`time_ms,Host time`, the latter in bursts",
        text("n.csv", "time_ms,Host time,acc\n" + rows(range(N), [f"{1.7e9 + t:.3f}" for t in BURSTS_S], X[0])),
        frame(1000.0, {"acc": "acc"}),
        "pandas",
    ),
    Case(
        "clock",
        "`.stamp.secs,.stamp.nsecs` of ROS",
        text(
            "n.csv",
            ".stamp.secs,.stamp.nsecs,acc\n"
            + rows(1700000000 + np.arange(N) // 1000, np.arange(N) % 1000 * 10**6, X[0]),
        ),
        frame(1000.0, {"acc": "acc"}),
        "pandas",
    ),
    Case(
        "clock",
        "`cnt`, which wraps at 256",
        text("n.csv", "cnt,acc\n" + rows(np.arange(N) % 256, X[0])),
        frame(1000.0, {"acc": "acc"}),
        "pandas",
        options={"rate_hz": 1000.0},
    ),
    Case(
        "head",
        "a row of units, `ms,m/(s^2),mV`",
        text("n.csv", "time,acc,ECG\nms,m/(s^2),mV\n" + rows(range(N), X[0], X[1])),
        frame(1000.0, {"acc": "acc"}, skiprows=[1]),
        "pandas",
        ecg_hz=1000.0,
    ),
    Case(
        "head",
        "BIOPAC, 1 msec/sample, a row of counts",
        text("n.txt", f"{BIOPAC}\t{N}\n" + rows([f"{t / 60:.9f}" for t in TIME_S], X[0], delimiter="\t")),
        frame(1000.0, {"CH1": "CH1"}, sep="\t", skiprows=[0, 1, 2, 3, 4, 6]),
        "pandas",
    ),
    Case(
        "head",
        "LabChart, `ChannelTitle=`",
        text("n.txt", LABCHART + rows(TIME_S, X[0], X[1], delimiter="\t")),
        frame(1000.0, {"seat": "1"}, sep="\t", skiprows=2, header=None),
        "pandas",
        ecg_hz=1000.0,
    ),
    Case(
        "head",
        "LabChart, `Interval=` contradicts the times",
        text("n.txt", LABCHART.replace("0.001", "0.004") + rows(TIME_S, X[0], X[1], delimiter="\t")),
        refused="its text states 250 Hz, its times 1000 Hz",
    ),
    Case(
        "head",
        "`ECG sampling rate: 250 Hz` alone",
        text("n.csv", "ECG sampling rate: 250 Hz\nacc,belt\n" + rows(X[0], X[1])),
        refused="give rate_hz=",
    ),
    Case(
        "head",
        "`Sampling rate: 1 kS/s`",
        text("n.csv", "Sampling rate: 1 kS/s\nacc,belt\n" + rows(X[0], X[1])),
        frame(1000.0, {"acc": "acc", "belt": "belt"}, skiprows=1),
        "pandas",
    ),
    Case(
        "cells",
        "`-1.500`, `417`, `1.250`",
        text("n.csv", "time_ms;acc\n" + rows(range(N), [f"{c:,}".replace(",", ".") for c in COUNTS], delimiter=";")),
        refused="two ways",
    ),
    Case(
        "cells",
        "-9999 twice",
        text("n.csv", "acc,belt\n" + rows(CODED, X[1])),
        frame(1000.0, {"acc": "acc", "belt": "belt"}),
        "pandas",
        options={"rate_hz": 1000.0},
        step=1e-3,
    ),
    Case(
        "cells",
        "an empty first column",
        text("n.csv", "event,acc\n" + rows(EMPTY, X[0])),
        frame(1000.0, {"acc": "acc"}),
        "pandas",
        options={"rate_hz": 1000.0},
    ),
    Case(
        "ECG by name",
        "`ECG_HR,ECG`",
        text("n.csv", "ECG_HR,ECG,acc\n" + rows(X[2], X[1], X[0])),
        frame(1000.0, {"acc": "acc"}),
        "pandas",
        options={"rate_hz": 1000.0},
        ecg_hz=1000.0,
    ),
)
