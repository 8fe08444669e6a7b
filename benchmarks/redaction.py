"""How well secrets are told from what only looks like one, and how fast."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fakes.redaction_corpus import Positive, negatives, positives, unseen
from fakes.redaction_formats import formats, lookalikes
from kubecase.core.redact import Redactor
from kubecase.core.redact_stream import LineRedactor

REDACTOR = Redactor()
LOG = "\n".join(
    f"2026-01-02T03:04:05.{n:06d}Z INFO request took {n % 97} ms" for n in range(40_000)
)


def recall(texts: list[Positive]) -> str:
    missed = sum(each.secret in REDACTOR.text(each.text)[0] for each in texts)
    return f"{len(texts):5d} secrets, recall {1 - missed / len(texts):.4f}"


def rate(work: object, size: int) -> float:
    begun = time.perf_counter()
    work()  # type: ignore[operator]
    return size / (time.perf_counter() - begun) / 1e6


def main() -> None:
    found = positives() + formats()
    print(f"kinds of secrets                  {len({each.kind for each in found})}")
    print(f"half that rules were made by   {recall([e for e in found if not e.held_out])}")
    print(f"half held out                  {recall([e for e in found if e.held_out])}")
    print(f"formats tried afterwards       {recall(unseen())}")
    harmless = negatives() + lookalikes()
    touched = [text for text in harmless if REDACTOR.text(text)[1]]
    print(f"harmless lines                {len(harmless):6d}, touched {len(touched)}")
    data = LOG.encode()
    plain = rate(lambda: LOG.replace("secret", "x"), len(data))
    whole = rate(lambda: REDACTOR.text(LOG), len(data))
    lines = rate(lambda: LineRedactor(REDACTOR).lines(data), len(data))
    print(f"a log of {len(data) / 1e6:.1f} MB, one word replaced: {plain:.0f} MB/s")
    print(f"  redacted whole        {whole:6.1f} MB/s, 1/{plain / whole:.0f} of that")
    print(f"  redacted line by line {lines:6.1f} MB/s, 1/{plain / lines:.0f} of that")


if __name__ == "__main__":
    main()
