"""The search keeps to its budgets on the histories of the benchmark, and git agrees with it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "search.py"
_spec = importlib.util.spec_from_file_location("benchmark_search", BENCHMARK)
assert _spec is not None
assert _spec.loader is not None
benchmark = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = benchmark  # its dataclasses look their module up
_spec.loader.exec_module(benchmark)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", benchmark.KINDS, ids=lambda kind: kind.name)
def test_the_mean_number_of_trials_is_within_the_budget(kind: object, seed: int) -> None:
    score = benchmark.score(kind, list(benchmark.histories(kind, 600, seed=seed)), None, 0)
    assert score.passed, score


@pytest.mark.real
def test_git_names_the_same_candidates(tmp_path: Path) -> None:
    git = benchmark.GitRepository(tmp_path, 33)
    window = benchmark.Kind("window of 8", 7.6, window=8)
    for history in benchmark.histories(window, 4, n=33):
        count, candidates = git.bisect(history)
        trials, conclusion = benchmark.hunt(history)
        assert candidates == {*conclusion.suspects, conclusion.after}
        assert count >= 1
        assert trials >= 1
