"""Change the emulator in every place, one at a time, and see that some directed case notices.

    python -m tests.conformance.mutants.source                # every file of the emulator
    python -m tests.conformance.mutants.source connections    # one of them

Where rules.toml breaks the rules that somebody thought of, this goes through the source itself: each
comparison, operator, number, sign, condition and statement of the functions that compute. The real Lava
answers the directed cases once; each mutant runs them in plain Python and must differ, or fail. Those that
may not are listed in equivalent.toml, each with the reason why it computes the same. Exit code 1 if one
survives that is not listed there, or if one is listed that does not survive. How wide sums are is left to
rules.toml, since plain Python has another idea of that than compiled code.
"""

import ast
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nsc_deploy.exporters.lava.emulator.simulate import LayerTrace
from tests.conformance.mutants.rules import FILES, Mutation, first_difference, twin_in_python
from tests.support.directed_networks import directed_cases
from tests.support.real_lava import Case, run_in_real_lava

# What refuses bad input, or spreads work over threads: other tests are about these.
NOT_ARITHMETIC = {
    "_check",
    "in_range",
    "whole_numbers",
    "_vector",
    "_refuse_undefined_sums",
    "largest_sum",
    "thread_count",
    "_in_blocks",
    "output_spikes",
}
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Pow: ast.Mult,
}
CALLS = {"min": "max", "max": "min", "zeros": "ones", "maximum": "minimum"}


@dataclass(frozen=True)
class Mutant:
    """One change of one place.

    Attributes:
        file: of the emulator.
        function: in which it lies.
        line: of the source, from 1.
        before: the line as it was.
        after: the line as it becomes; its first part, where it becomes several.
        text: the whole file after the change.
    """

    file: str
    function: str
    line: int
    before: str
    after: str
    text: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same for the same change, wherever its line has moved to."""
        return self.file, self.function, self.before, self.after


def mutants(file: str) -> Iterator[Mutant]:
    """Every change of a file."""
    text = FILES[file].read_text(encoding="utf-8")
    for function, node in _computing(ast.parse(text), ""):
        for after in _changes(node):
            changed = _with(text, node, after)
            before, then = (whole.splitlines()[node.lineno - 1].strip() for whole in (text, changed))
            yield Mutant(file, function, node.lineno, before, then, changed)


def _computing(node: ast.AST, function: str) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
    """The expressions and statements of functions, without annotations, docstrings and errors."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "bases", "keywords"} and not isinstance(
            node, ast.Call
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _refuses(child):
                continue
            inner = function
            if isinstance(child, ast.FunctionDef):
                if child.name in NOT_ARITHMETIC:
                    continue
                inner = child.name
            if function and isinstance(child, ast.expr | ast.stmt):
                yield function, child
            yield from _computing(child, inner)


def _refuses(node: ast.AST) -> bool:
    """Whether a statement only refuses bad input."""
    if isinstance(node, ast.If):
        return not node.orelse and all(_refuses(one) for one in node.body)
    call = node.value if isinstance(node, ast.Expr) else None
    named = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
    return isinstance(node, ast.Raise) or named in NOT_ARITHMETIC


def _changes(node: ast.AST) -> Iterator[str]:  # noqa: PLR0912 - one kind of node each
    """What an expression or a statement may become; without its parts, which have changes of their own."""
    match node:
        case ast.Compare(ops=[op]):
            for other in COMPARISONS.get(type(op), ()):
                yield _code(ast.Compare(node.left, [other()], node.comparators))
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield _code(ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))
        case ast.BoolOp():
            yield _code(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield _code(node.operand)
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=int() | float()):
            yield f"({node.value} + 1)"
            if node.value:
                yield f"({node.value} - 1)"
        case ast.IfExp():
            yield _code(node.body)
            yield _code(node.orelse)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in CALLS:
            yield _renamed(node, CALLS[name])
        case ast.If():
            for always in ("True", "False"):
                yield _code(ast.If(ast.Name(always), node.body, node.orelse))
        case ast.AugAssign() | ast.Assign(targets=[ast.Subscript()]):
            yield "pass"


def _renamed(call: ast.Call, name: str) -> str:
    function = call.func
    new = ast.Name(name) if isinstance(function, ast.Name) else ast.Attribute(function.value, name)
    return _code(ast.Call(new, call.args, call.keywords))


def _code(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(node))
    return f"({text})" if isinstance(node, ast.expr) else text


def _with(text: str, node: ast.expr | ast.stmt, after: str) -> str:
    """The source with one node replaced; columns count bytes."""
    lines = text.encode().splitlines(keepends=True)
    end = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset :]
    start = lines[node.lineno - 1][: node.col_offset]
    indented = after.replace("\n", "\n" + " " * node.col_offset)
    changed = [*lines[: node.lineno - 1], start + indented.encode() + end, *lines[node.end_lineno :]]
    return b"".join(changed).decode()


def survives(mutant: Mutant, cases: list[Case], real: list[tuple[LayerTrace, ...]]) -> bool:
    """Whether no directed case tells the mutant from the emulator."""
    whole = FILES[mutant.file].read_text(encoding="utf-8")
    try:
        modules = twin_in_python(Mutation("", mutant.file, whole, mutant.text))
        return first_difference(modules, cases, real) is None
    except Exception:
        return False  # whatever a mutant dies of, it was noticed


def equivalent() -> dict[tuple[str, str, str, str], str]:
    """The changes that compute the same, with the reason."""
    path = Path(__file__).with_name("equivalent.toml")
    return {
        (row["file"], row["function"], row["line"], after): row["why"]
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["equivalent"]
        for after in row["becomes"]
    }


def main(files: list[str]) -> int:
    """Run every mutant of some files and say what was found."""
    cases = directed_cases(core=True)
    print(f"asking the real Lava about {len(cases)} cases", file=sys.stderr)
    real = run_in_real_lava(cases, group=12)
    if first_difference(twin_in_python(None), cases, real) is not None:
        print("the twin itself differs from Lava")
        return 1
    known, wrong, seen = equivalent(), 0, set()
    for file in files:
        count: Counter[str] = Counter()
        for mutant in mutants(file):
            alive = survives(mutant, cases, real)
            listed = mutant.key in known
            seen.add(mutant.key)
            count["noticed" if not alive else "known to compute the same" if listed else "SURVIVED"] += 1
            if alive is not listed:
                wrong += 1
                verb = "survived" if alive else "is noticed, though it is listed"
                print(
                    f"{file}:{mutant.line} {mutant.function}: {verb}\n    {mutant.before}\n    {mutant.after}"
                )
        told = ", ".join(f"{number} {what}" for what, number in sorted(count.items()))
        print(f"{file}: {sum(count.values())} mutants: {told}", flush=True)
    gone = [key for key in known if key[0] in files and key not in seen]
    for key in gone:
        print(f"listed, but there is no such place: {key}")
    return 1 if wrong or gone else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(FILES)))
