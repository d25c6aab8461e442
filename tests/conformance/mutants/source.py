"""Change the emulator in every place, one at a time, and see that some directed case notices.

    python -m tests.conformance.mutants.source                # every file of the emulator
    python -m tests.conformance.mutants.source connections    # one of them

Where rules.toml breaks the rules that somebody thought of, this goes through the source itself: each
comparison, operator, number, sign, condition and statement of the functions that compute. The real Lava
answers the directed cases once; each mutant runs them in plain Python and must differ, or fail. Those that
may not are listed in equivalents.toml, each with the reason why it computes the same. Exit code 1 if one
survives that is not listed there, or if one is listed that does not survive. How wide sums are is left to
rules.toml, since plain Python has another idea of that than compiled code.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from nsc_deploy.exporters.lava.emulator.simulate import LayerTrace
from tests.conformance.mutants.rules import (
    FILES,
    Tree,
    emulator_in_python,
    equivalent,
    exchanged,
    first_difference,
    source_tree,
)
from tests.support.directed_networks import directed_cases
from tests.support.real_lava import Case, run_in_real_lava

# What refuses bad input, spreads work over threads, or keeps no states: other tests are about these.
NOT_ARITHMETIC = {
    "_check",
    "in_range",
    "whole_numbers",
    "_vector",
    "_refuse_undefined_sums",
    "largest_sum",
    "thread_count",
    "_in_blocks",
    "_helpers",
    "output_spikes",
    "all_spikes",
    "_spikes_of_block",
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
        place: the function in which it lies, and the line.
        change: the expression or statement before and after.
        tree: the whole file after the change.
    """

    file: str
    place: str
    change: str
    tree: Tree

    @property
    def text(self) -> str:
        """Of the whole file after the change."""
        return ast.unparse(self.tree)


def every_mutation(file: str) -> Iterator[Mutant]:
    """Every change of a file."""
    tree = source_tree(file)
    for function, node in _computing(tree, ""):
        for after in _changes(node):
            change = f"{ast.unparse(node)}  ->  {ast.unparse(after)}"
            yield Mutant(file, f"{function}:{node.lineno}", change, exchanged(tree, node, [after]))


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


def _changes(node: ast.AST) -> Iterator[ast.AST]:  # noqa: PLR0912 - one kind of node each
    """What an expression or a statement may become; without its parts, which have changes of their own."""
    match node:
        case ast.Compare(ops=[op]):
            for other in COMPARISONS.get(type(op), ()):
                yield ast.Compare(node.left, [other()], node.comparators)
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.BinOp(node, ast.Add(), ast.Constant(1))
            if node.value:
                yield ast.BinOp(node, ast.Sub(), ast.Constant(1))
        case ast.IfExp():
            yield node.body
            yield node.orelse
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            yield ast.Call(ast.Name(CALLS[name], ast.Load()), node.args, node.keywords)
        case ast.Call(func=ast.Attribute(attr=name)) if name in CALLS:
            other = ast.Attribute(node.func.value, CALLS[name], ast.Load())
            yield ast.Call(other, node.args, node.keywords)
        case ast.If():
            for always in (True, False):
                yield ast.If(ast.Constant(always), node.body, node.orelse)
        case ast.AugAssign() | ast.Assign(targets=[ast.Subscript()]):
            yield ast.Pass()


def survives(mutant: Mutant, cases: list[Case], real: list[tuple[LayerTrace, ...]]) -> bool:
    """Whether no directed case tells the mutant from the emulator."""
    modules = emulator_in_python({mutant.file: mutant.tree})
    try:
        return first_difference(modules, cases, real) is None
    except Exception:
        return False  # whatever a mutant dies of, it was noticed


def main(files: list[str]) -> int:
    """Run every mutant of some files and say what was found."""
    cases = directed_cases(core=True)
    print(f"asking the real Lava about {len(cases)} cases", file=sys.stderr)
    real = run_in_real_lava(cases, group=12)
    if first_difference(emulator_in_python({}), cases, real) is not None:
        print("the emulator itself differs from Lava")
        return 1
    known, wrong = equivalent(), 0
    for file in files:
        count: Counter[str] = Counter()
        for mutant in every_mutation(file):
            alive = survives(mutant, cases, real)
            listed = mutant.text in known
            count["noticed" if not alive else "known to compute the same" if listed else "SURVIVED"] += 1
            if alive is not listed:
                wrong += 1
                verb = "survived" if alive else "is noticed, though it is listed"
                print(f"{file}.{mutant.place}: {verb}\n    {mutant.change}")
        told = ", ".join(f"{number} {what}" for what, number in sorted(count.items()))
        print(f"{file}: {sum(count.values())} mutants: {told}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(FILES)))
