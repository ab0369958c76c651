"""Where did the answer change? Pure: which release to test next, and what the answers prove.

question = Question(n=65)
seen: dict[int, Verdict] = {}
while probes := next_probes(question, seen):
seen |= {i: test(i) for i in probes}
conclude(question, seen)
"""

from behunt.search.conclusion import Conclusion, conclude
from behunt.search.evidence import Question
from behunt.search.probes import about_left, next_probes

__all__ = ["Conclusion", "Question", "about_left", "conclude", "next_probes"]
