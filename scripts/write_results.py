"""Write results/README.md from the records beside it: every number in it is read from them, or computed by theory.

    .venv/bin/python scripts/write_results.py [--check]

--check reads no record, for that takes seconds: it compares the digests that the last line of the README holds, of the
records and stored configurations with these scripts, and of the README's own text, with what is there; exit status 1 if they differ.
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
README = RESULTS / "README.md"
# The lowest values known are a matter of theory's stored configurations, too.
SOURCES = ("scripts/results_*.py", "scripts/write_results.py", "results/*.zip", "ncrun/theory/*_witnesses.json")
SEAL = re.compile(r"<!-- written by scripts/write_results\.py from ([0-9a-f]{16}), text ([0-9a-f]{16}) -->\n\Z")

HEAD = """# Results

This page shows every experiment with its claim, its runs and what came out. Beside it lie the records of the runs (`config.yaml`, `manifest.json`, `theory.json`, `geometry.json`,
`metrics.jsonl`, numbers to seven digits), one archive for each paper and scale, and the figures that are shown here. Each manifest names the revision of the code that trained the
run. Checkpoints are not included. `ncrun` reads the archives in place:

```
.venv/bin/ncrun figures --from results --out figures
.venv/bin/ncrun figures dang2023/mlp-imbalanced --scale real --from results/dang2023-real.zip --out figures
.venv/bin/ncrun table results/dang2024-cpu.zip
.venv/bin/ncrun plot results/sukenik2023-real.zip y=loss
.venv/bin/python -m zipfile -e results/dang2023-cpu.zip records     # or unpack them (LZMA, which not every unzip knows)
```

`ncrun figures NAME` draws all figures of an experiment as PNG and PDF, also those that are not shown here (Gram matrices, class norms, angles, the usual set, ranks). It writes the
experiment's table as CSV, Markdown and LaTeX.

`scripts/write_results.py` writes this page and reads every number of a run from the records. Times are wall times; the runs shared two cores of a virtual machine with others. Where the
text says so, a GPU was used.

- Scale `cpu`: digits, small networks.
- Scale `real`: CIFAR-10, MNIST and FashionMNIST at the papers' class counts, or our own (`beyond`).
- Scale `paper`: the free-feature experiments in the papers' own setting, and networks: mlp-imbalanced, dang2024/mlp, end-to-end, and
  one run each of mlp-balanced and cross-entropy-balanced. The others were not run (last section).

A distance is the largest of NC2 of the classifier, NC2 of the class means, and NC3. The gap is how far the loss is above the optimum. A range is over the seeds, and over everything else that
the line does not fix. All numbers are also in
[dang2023](dang2023/table-cpu.md), [dang2024](dang2024/table-cpu.md), [sukenik2023](sukenik2023/table-cpu.md) and
[beyond](beyond/table-cpu.md).
"""

TAIL = """## theory/etf-map

For cross-entropy with deep linear heads the map shows where a configuration with a lower value than the simplex ETF is known, over the number of classes, depth and decay. It comes from theory alone.

![etf-map](theory/etf-map.png)

## Not run, and why

- Scale `paper` of the other networks (ResNet18 and other convolutional networks, mlp-cifar10, deeper heads of mlp-balanced and cross-entropy-balanced). With more time on a GPU `scripts/gpu_hour.py`
  runs them (docs/gpu.md). The tests compose their configurations and train one step.
- Scale `real` of `mlp-imbalanced-emnist` (there is no EMNIST) and of `beyond/bias-decay-network`.
- CIFAR-100, SVHN and EMNIST were not available. Their loaders are tested on small files in the original formats. Experiments on these data sets have their class proportions at scale `cpu`, on
  digits.
- The LaTeX tables were not compiled.
"""


def digest(*contents: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()[:16]


def sources() -> str:
    return digest(*(path.read_bytes() for pattern in SOURCES for path in sorted(ROOT.glob(pattern))))


def is_up_to_date(text: str) -> bool:
    """Whether the text is one that this script wrote, unchanged, from the records and scripts that are there."""
    seal = SEAL.search(text)
    return seal is not None and seal.groups() == (sources(), digest(text[: seal.start()].encode()))


def written() -> str:
    """The whole page. Reads every record: about five seconds."""
    import results_arrival as arrival
    import results_bias_decay as biases
    import results_claim as claims
    import results_dang2023 as first
    import results_free_features as free
    import results_others as others
    import results_regression as targets
    import results_remedies as beyond
    import results_standard as standard
    from results_numbers import Runs

    runs = Runs.below(RESULTS)
    sections = (
        claims.section,
        first.imbalanced,
        first.balanced,
        first.cross_entropy,
        first.convolutional,
        others.networks_2024,
        others.convolutional_2024,
        others.relu_heads,
        others.cifar,
        others.mnist,
        arrival.arrival,
        standard.standard,
        targets.regression,
        free.direct_2023,
        free.phases,
        free.direct_2024,
        free.dufm,
        beyond.remedies,
        biases.bias_decay,
    )
    text = "\n".join([HEAD, *(section(runs) for section in sections), TAIL])
    text += "\n"
    return f"{text}<!-- written by scripts/write_results.py from {sources()}, text {digest(text.encode())} -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="results/README.md from the records")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    if not parser.parse_args().check:
        README.write_text(written(), encoding="utf-8")
        return 0
    if is_up_to_date(README.read_text(encoding="utf-8")):
        return 0
    print("results/README.md: is not what its records say; run scripts/write_results.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
