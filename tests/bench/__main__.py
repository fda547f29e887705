"""``make bench``: every benchmark, peers in the same run; figures go to reports/bench.json as well."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench import adapter, cohort, cstore, decision, evaluator, passing, routes, serving, verifiers


def main() -> None:
    figures = {
        "cstore": cstore.main(["--many", "10000"]),
        "decision": decision.main(),
        "passing": passing.main(),
        "evaluator": evaluator.main(),
        "verifiers": verifiers.main(),
        "serving": serving.main(),
        "routes": routes.main(),
        "adapter": adapter.main(),
        "cohort": cohort.main(),
    }
    path = Path("reports") / "bench.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
