"""The command `policy`, from the options to the exit code."""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.commands.dead_letters import parse_since
from worker.commands.option_values import whole_number
from worker.commands.policy.differences import PolicyDifference, differences
from worker.commands.policy.effective import show_effective
from worker.commands.policy.findings import findings, same_version
from worker.commands.policy.stored_verdicts import Chunks, chunks_of_file, chunks_of_topic
from worker.commands.policy.trial_page import trial_page
from worker.commands.policy.trial_run import run_trial
from worker.commands.policy.trial_tables import show_trial
from worker.commands.policy.usage import PolicyUsage
from worker.commands.report_page.page import write_reports
from worker.commands.subcommand import add_subcommand_to
from worker.commands.terminal import add_json_option, check_writable, shows_table
from worker.errors import ExitCode
from worker.logs import escaped
from worker.moderation.policies import MessageFields, read_policy
from worker.moderation.yaml_events import YamlFault
from worker.settings import Need, admin_config, load_settings, variables_for

EXAMPLES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    of_policy = parser.add_subparsers(required=True, metavar="check|show|try")
    check = _add(
        of_policy, "check", "Names what is wrong or doubtful in a policy file; exit code 2 if it is broken.", _check
    )
    check.add_argument("--against", metavar="OLD", help="also list what differs from this policy file")
    show = _add(
        of_policy, "show", "Shows the thresholds that hold for some messages, and the line that sets each.", _show
    )
    for name in ("topic", "channel-id", "user-id", "tenant-id", "language"):
        show.add_argument(
            f"--{name}",
            metavar=name[0].upper(),
            help=f"{name.replace('-', ' ')} of the messages (default: they have none)",
        )
    show.add_argument(
        "--role",
        action="append",
        default=[],
        metavar="R",
        help="role of the messages' author; may be repeated (default: none)",
    )
    show.add_argument("--edited", action="store_true", help="the messages are edits")
    trial = _add(of_policy, "try", "Shows what a policy file would decide differently about stored verdicts.", _try)
    trial.add_argument(
        "--against",
        metavar="OLD",
        help="the policy file that judged the messages: its alerts.level says which ones raised an alert",
    )
    add_json_option(trial)
    trial.add_argument("--out", type=Path, metavar="FILE.html", help="write a page for people to this file")
    trial.add_argument(
        "--examples",
        type=whole_number(0),
        default=EXAMPLES,
        metavar="N",
        help=f"examples to show of each change (default: {EXAMPLES})",
    )
    for one, required in ((check, False), (trial, True)):
        source = one.add_mutually_exclusive_group(required=required)
        source.add_argument(
            "--since", help="read the verdict topic from this time: 90m, 24h or 7d ago, or an RFC 3339 time"
        )
        source.add_argument(
            "--verdicts", metavar="JSONL", help="read a file with a verdict a line; - is standard input"
        )
        one.epilog = variables_for("kafka")


def run(options: argparse.Namespace) -> ExitCode:
    """Run the subcommand.

    Raises:
        FatalError: A policy file, a file of verdicts or a setting is wrong, or the topic can't be read.
    """
    code: ExitCode = options.subcommand(options)
    return code


def _add(
    parsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    subcommand: Callable[[argparse.Namespace], ExitCode],
) -> argparse.ArgumentParser:
    parser = add_subcommand_to(parsers, name, summary, subcommand)
    parser.add_argument("file", metavar="FILE", help="the policy file")
    return parser


def _check(options: argparse.Namespace) -> ExitCode:
    source = read_policy(options.file)
    old = read_policy(options.against) if options.against else None
    console = Console(highlight=False)
    found, doubts = list(findings(source)), []
    if old is not None:
        found += same_version(source, old)
    if options.since or options.verdicts:
        usage = PolicyUsage(source)
        usage.add(_chunks(options))
        found += usage.findings() if usage.verdicts else []
        doubts = usage.missing_fields() if usage.verdicts else ["there is no verdict to compare the globs with"]
    _show_doubts(console, options.file, found, doubts)
    file = source.file
    console.print(
        f"{'!' if found or doubts else '✓'} {escaped(options.file)}: version "
        f"{escaped(file.version or source.digest)}, levels {escaped(', '.join(file.levels))}; rules "
        f"{len(file.rules)}, exemptions {len(file.exempt)}, groups of allowed texts {len(file.allow)}, shadow "
        f"candidates {len(file.shadow)}; doubts {len(found) + len(doubts)}",
        markup=False,
        soft_wrap=True,
    )
    if old is not None:
        _show_differences(console, options.against, differences(old.file, file))
    return ExitCode.DONE


def _show_doubts(console: Console, file: str, found: Sequence[YamlFault], doubts: Sequence[str]) -> None:
    for one in found:
        where = f"{escaped(file)}:{one.line}:{one.column}"
        console.print(Text(f"! {where}: {escaped(one.message)}", style="yellow"), soft_wrap=True)
    for sentence in doubts:
        console.print(Text(f"! {escaped(sentence)}", style="yellow"), soft_wrap=True)


def _show_differences(console: Console, old: str, found: Sequence[PolicyDifference]) -> None:
    if not found:
        console.print(Text(f"\nNothing differs from {escaped(old)}."), soft_wrap=True)
        return
    table = Table("key", "before", "after", box=None, pad_edge=False)
    for one in found:
        table.add_row(*(Text(escaped(part, 80)) for part in one))
    console.print(Text(f"\nWhat differs from {escaped(old)}:\n", style="bold"), table)


def _show(options: argparse.Namespace) -> ExitCode:
    fields = MessageFields(
        topic=options.topic,
        channel_id=options.channel_id,
        user_id=options.user_id,
        tenant_id=options.tenant_id,
        roles=tuple(options.role),
        language=options.language,
        edited=options.edited,
    )
    show_effective(read_policy(options.file), options.file, fields, Console(highlight=False))
    return ExitCode.DONE


def _try(options: argparse.Namespace) -> ExitCode:
    files = [Path(name) for name in (options.file, options.verdicts, options.against) if name is not None]
    check_writable(options.json, options.out, inputs=files)
    source = read_policy(options.file)
    against = read_policy(options.against) if options.against else None
    report = run_trial(source, options.file, _chunks(options), examples=options.examples, against=against)
    if shows_table(options.json, options.out):
        show_trial(report, Console(highlight=False))
    write_reports(report, partial(trial_page, report), json_path=options.json, out=options.out)
    return ExitCode.DONE


def _chunks(options: argparse.Namespace) -> Chunks:
    if options.verdicts is not None:
        return chunks_of_file(options.verdicts)
    since_ms = parse_since(options.since, time.time_ns() // 1_000_000)
    kafka = load_settings(os.environ, {Need.KAFKA}).settings.kafka
    return chunks_of_topic(admin_config(kafka), kafka.verdict_topic, since_ms)
