"""All handlers, by kind. A new kind is a file here, a line here, and the same two in `resources/`."""

from __future__ import annotations

from typing import Any

from hubfleet.agent import account, directory, environment, file, process
from hubfleet.agent.base import Handler
from hubfleet.resources.account import Account
from hubfleet.resources.directory import Directory
from hubfleet.resources.environment import Environment
from hubfleet.resources.file import File
from hubfleet.resources.process import Process

HANDLERS: dict[str, Handler[Any]] = {
    Account.kind: Handler(account.observe, account.apply),
    Directory.kind: Handler(directory.observe, directory.apply),
    File.kind: Handler(file.observe, file.apply),
    Environment.kind: Handler(environment.observe, environment.apply),
    Process.kind: Handler(process.observe, process.apply),
}
