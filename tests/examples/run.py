"""Runs the examples of a README: the `sh` blocks below each example's heading, and compares the `text output` blocks.
`…` stands for anything. Usage: run.py README

A program that gets its token itself then runs again with a scope that its client may not have: it must fail, and name the
reason. Prints one line per example; the exit code is 1 if one failed.
"""
import os
import re
import shutil
import subprocess
import sys

# These examples must always run.
ALWAYS = {"curl", "python", "rust", "legacy-shell", "legacy-python"}
TIMEOUT = 600


def needs(markdown):
    """The examples of the table, each with its required programs."""
    rows = re.findall(r"^\| \[([a-z-]+)\]\(#\1\) \|.*\| (.*) \|$", markdown, re.MULTILINE)
    return {name: re.findall(r"`(\S+)`", cell) for name, cell in rows}


def steps(markdown, name):
    """The commands of an example, a block each, with the output shown; empty where none is."""
    section = re.search(rf"^### {name}\n(.*?)(?=^##|\Z)", markdown, re.MULTILINE | re.DOTALL)
    pattern = r"^```sh\n(.*?)^```\n+(?:```text output\n(.*?)^```)?"
    blocks = re.findall(pattern, section[1], re.MULTILINE | re.DOTALL)
    return [(commands.rstrip("\n"), shown.rstrip("\n")) for commands, shown in blocks]


def run(command, **environment):
    return subprocess.run(["bash", "-ec", command], env=os.environ | environment, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=TIMEOUT)


def matches(pattern, text):
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), text, re.DOTALL)


def problem(example, gets_its_token):
    """The fault of an example, or None if it prints the output in the README."""
    for command, shown in example:
        done = run(command)
        if done.returncode or not matches(shown, done.stdout.strip("\n")):
            return f"$ {command}\nexit code {done.returncode}\n{done.stdout}{done.stderr}\nthe README shows:\n{shown}"
    if gets_its_token:
        command = example[-1][0]
        done = run(command, SCOPE="admin")
        if not done.returncode or done.stdout or "invalid_scope" not in done.stderr:
            return f"$ SCOPE=admin {command}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
    return None


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        markdown = file.read()
    examples = needs(markdown)
    headings = set(re.findall(r"^### (.*)$", markdown, re.MULTILINE))
    if set(examples) != headings or not ALWAYS <= headings:
        sys.exit(f"run.py: the table has {sorted(examples)}, the headings are {sorted(headings)}")
    failed = False
    for name, programs in examples.items():
        missing = [program for program in programs if not shutil.which(program)]
        if missing and name not in ALWAYS:
            print(f"{name}: not run, no {missing[0]} here", flush=True)
            continue
        wrong = problem(steps(markdown, name), not name.startswith("legacy-"))
        failed |= wrong is not None
        print(f"{name}: {'ok' if wrong is None else f'FAILED{chr(10)}{wrong}'}", flush=True)
    sys.exit(1 if failed else 0)


main()
