"""Which real programs are run: Claude Code always, the others where `make test-real` put them."""

from pathlib import Path

OTHERS = Path(__file__).parent.parent.parent / ".tools" / "others" / "bin"

collect_ignore = [] if OTHERS.is_dir() else ["test_other_clis.py"]
