"""The tables of `docs/safety.md`, made from `docs/safety.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN = "<!-- make safety: begin -->"
END = "<!-- make safety: end -->"
_HEADING = "## Packages that were tried"


def write(page: Path, facts: dict[str, Any]) -> None:
    """Puts the tables between the markers of the page; the rest stays as it is."""
    text = page.read_text("utf-8")
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{_HEADING}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{tables(facts)}\n{END}{after}", "utf-8")


def tables(facts: dict[str, Any]) -> str:
    """All of it, as Markdown."""
    rows = facts["recipes"]
    tried = [name for name, row in rows.items() if "untried" not in row]
    good = [name for name in tried if not problems(rows[name])]
    lines = [
        "",
        f"Written by `make safety` on {facts['date']}: CPython {facts['python']}, Linux {facts['kernel']}, "
        f"{facts['cores']} cores. {len(good)} of {len(tried)} recipes worked in children as in a cold process.",
        "",
        "Each package is imported in a template of its own, then used with real work (`safety/recipes/`) in two "
        "children one after the other and in two at once; all four have to return what a cold process returns and to "
        "end with 0. Threads are the kernel's, after the imports in a cold process and in the template when it is "
        "ready. Times are the longest of one run on a busy machine, those of children with the import of the recipes: "
        "they show hangs, not speed.",
        "",
        "| package | version | threads, cold → template | verdict | four children | work, cold → child | child's end |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(name, row) for name, row in rows.items()]
    for name, found in facts.get("together", {}).items():
        lines += ["", *_together(name, found)]
    if facts.get("random"):
        lines += ["", *_random(list(facts["random"].values()))]
    return "\n".join([*lines, ""])


def failures(facts: dict[str, Any]) -> list[str]:
    """Everything that is not as it should be, by name."""
    found = [name for name, row in facts["recipes"].items() if "untried" not in row and problems(row)]
    for kind in ("random", "together"):
        for name, part in facts.get(kind, {}).items():
            found += [f"{kind} {name}"] * ("problem" in part)
            found += [row["name"] for row in part.get("rows", []) if _is_bad(row)]
            found += [f"{trial['name']} among all" for trial in part.get("trials", []) if _errors(trial)]
    return found


def _is_bad(row: dict[str, Any]) -> bool:
    return bool(row["errors"]) or not row["differ"] or row["seed_wins"] is False


def _errors(row: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(run["error"] for run in row.get("runs", []) if run["error"]))


def problems(row: dict[str, Any]) -> list[str]:
    """What is wrong with a recipe's row, in words."""
    found = list(row.get("problems", []))
    errors = _errors(row)
    cold = row.get("cold", {})
    if cold.get("error"):
        found.append(f"cold: {cold['error']}")
    elif not errors and any(run["value"] != cold.get("value") for run in row.get("runs", [])):
        found.append("a child returned something else than a cold process")
    return [*found, *errors]


def _line(name: str, row: dict[str, Any]) -> str:
    if "untried" in row:
        return f"| {name} | | | | untried: {_cell(row['untried'])} | | |"
    runs, cold = row.get("runs", []), row.get("cold", {})
    threads = f"{_count(cold.get('threads'))} → {_count(row.get('threads'))}"
    extra = [thread for thread in row.get("threads") or [] if not thread.startswith("python")]
    if extra:
        threads += f" ({', '.join(dict.fromkeys(extra))})"
    left = "; ".join(f"left out: `{module}`, {reason}" for module, reason in row.get("left_out", {}).items())
    verdict = _verdict(row)
    outcome = "; ".join(problems(row)) or "ok"
    work = f"{_time([cold.get('work', 0.0)])} → {_time([run['work'] for run in runs])}"
    parts = [name, row.get("version", ""), threads, "; ".join(filter(None, (left, verdict))), outcome, work]
    return "| " + " | ".join(_cell(part) for part in (*parts, _time([run["end"] for run in runs]))) + " |"


def _verdict(row: dict[str, Any]) -> str:
    """Firehot's own verdict on what the recipe preloads."""
    tops = list(dict.fromkeys(module.split(".")[0] for module in row.get("modules", [])))
    verdicts = row.get("verdicts", {})
    found = {name: verdicts[name] for name in (*tops, *row.get("modules", [])) if name in verdicts}
    # What is left out is said by the column's first part.
    return "; ".join(dict.fromkeys(text for text in found.values() if not text.startswith("left out")))


def _together(name: str, found: dict[str, Any]) -> list[str]:
    if "problem" in found:
        return [f"All packages of `{name}` in one template: {found['problem']}."]
    template, trials = found["template"], found["trials"]
    bad = [trial for trial in trials if _errors(trial)]
    threads = template["threads"] or []
    lines = [
        f"All {len(trials)} packages of the environment `{name}` in one template: {len(threads)} threads "
        f"({', '.join(dict.fromkeys(threads))}), each used in two children at once; "
        f"{len(trials) - len(bad)} of {len(trials)} ok."
    ]
    for module, reason in template["left_out"].items():
        lines.append(f"- `{module}` was left out: {_cell(reason)}")
    for trial in bad:
        lines.append(f"- {trial['name']}: {_cell('; '.join(_errors(trial)))}")
    if len(lines) > 1:
        lines.insert(1, "")
    return lines


def _random(found: list[dict[str, Any]]) -> list[str]:
    lines = [
        "Random numbers, four children of one template:",
        "",
        "| source | differ | a seed set in the child wins |",
        "|---|---|---|",
    ]
    words = {True: "yes", False: "**no**", None: "none to set"}
    lines += [f"| {one['problem']} | | |" for one in found if "problem" in one]
    for row in (row for one in found for row in one.get("rows", [])):
        differ = "; ".join(row["errors"]) or words[row["differ"]]
        lines.append(f"| {row['name']} | {_cell(differ)} | {words[row['seed_wins']]} |")
    return lines


def _count(threads: list[str] | None) -> str:
    return "?" if threads is None else str(len(threads))


def _time(seconds: list[float]) -> str:
    slowest = max(seconds, default=0.0)
    return f"{slowest * 1000:.0f} ms" if slowest < 1 else f"{slowest:.1f} s"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")[:300]
