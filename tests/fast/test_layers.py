"""The architecture, read from the imports: arrows between layers, cycles, and who may use what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "behunt"

# A layer may import what is in its own row, and itself. Whatever is missing is forbidden.
FLOOR = {"", "model", "errors", "events", "datafiles"}
HOSTS = FLOOR | {"hosts"}
ALLOWED: dict[str, set[str]] = {
    "": set(),
    "model": set(),
    "errors": set(),
    "events": {"model"},
    "datafiles": set(),
    "hosts": FLOOR,
    "families": HOSTS,
    "catalogue": HOSTS | {"families"},
    "suites": HOSTS,
    "search": FLOOR,
    "results": FLOOR,
    "storage": HOSTS,
    "install": HOSTS | {"families"},
    "runners": HOSTS | {"families", "storage", "netboot"},
    "netboot": HOSTS | {"families", "storage"},
}
ALLOWED["drive"] = set(ALLOWED)
ALLOWED["report"] = set(ALLOWED)
ALLOWED["cli"] = set(ALLOWED)

# Who else may import these. The rest of the code reaches them through the layer that does.
ONLY_IN = {
    "subprocess": "hosts",
    "pexpect": "hosts",
    "ctypes": "hosts",
    "click": "cli",
    "rich": "cli",
    "pandas": "report",
    "jinja2": "report",
    "sqlalchemy": "results",
}
NO_NAMES = {"utils", "util", "common", "helper", "helpers", "manager", "misc", "lib"}
LONGEST_FUNCTION = 60  # lines
LONGEST_MODULE = 400


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    """`hosts` of behunt.hosts.local; `cli` of behunt.__main__; empty of behunt itself."""
    parts = module.split(".")[1:]
    return "cli" if parts == ["__main__"] else "".join(parts[:1])


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Every module that `path` imports, at the top or later: `from a import b` is a.b if that is
    a module, else a.
    """
    known = {dotted(p) for p in modules()}
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            source = node.module or ""
            for alias in node.names:
                deeper = f"{source}.{alias.name}"
                yield deeper if deeper in known else source


def at_import_time(path: Path) -> set[str]:
    """Only what is imported when the module is: neither in functions nor for type checkers."""
    tree = parsed(path)
    later = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    later += [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n)]
    skipped = {id(inner) for node in later for inner in ast.walk(node)}
    known = {dotted(p) for p in modules()}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                found.add(deeper if deeper in known else str(node.module))
    return found & known


def test_imports_point_downwards() -> None:
    wrong = []
    for path in modules():
        layer = layer_of(dotted(path))
        within = {layer, *ALLOWED[layer]}
        ours = [name for name in imported(path) if name.split(".")[0] == "behunt"]
        wrong += [f"{dotted(path)} -> {n}" for n in ours if layer_of(n) not in within]
    assert wrong == []


def test_every_layer_is_known() -> None:
    assert {layer_of(dotted(path)) for path in modules()} <= set(ALLOWED)


def test_no_module_is_imported_in_a_circle() -> None:
    graph = {dotted(path): at_import_time(path) - {dotted(path)} for path in modules()}
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_the_table_has_no_circle() -> None:
    TopologicalSorter({k: v - {k} for k, v in ALLOWED.items()}).prepare()


def test_one_door_to_each_thing_outside() -> None:
    wrong = []
    for path in modules():
        tops = {name.split(".")[0] for name in imported(path)}
        layer = layer_of(dotted(path))
        wrong += [f"{dotted(path)} -> {name}" for name in tops if ONLY_IN.get(name, layer) != layer]
    assert wrong == []


def test_short_enough_to_read() -> None:
    assert [dotted(path) for path in modules() if lines_of(path) > LONGEST_MODULE] == []
    long = [
        f"{dotted(path)}.{node.name}: {length}"
        for path in modules()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert long == []


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_names_say_what_is_inside() -> None:
    stems = {part for path in modules() for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not stems & NO_NAMES


def test_nothing_is_mocked() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for name in imported(path):
            assert not name.startswith(("unittest.mock", "mock", "pytest_mock")), path
