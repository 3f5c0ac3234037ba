"""A kernel over its websocket, as a browser uses it: run cells, collect their outputs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any, TypeAlias

import aiohttp

from hubfleet.loadtest.hubapi import StepFailed
from hubfleet.loadtest.scenario import source

OUTPUTS = ("stream", "display_data", "execute_result", "error")
MESSAGE_LIMIT = 64 * 1024 * 1024

WebSocket: TypeAlias = "aiohttp.ClientWebSocketResponse[Any]"


class KernelSocket:
    """One connection to one kernel."""

    def __init__(self, socket: WebSocket, session: str) -> None:
        self._socket, self._session = socket, session

    async def close(self) -> None:
        await self._socket.close()

    async def ready(self) -> None:
        """Wait until the kernel answers. Raises StepFailed when it dies before that."""
        identifier = await self._send("kernel_info_request", {})
        while True:
            message = await self._receive()
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] in ("restarting", "dead"):
                raise StepFailed("the kernel died before it was ready")
            ours = message["parent_header"].get("msg_id") == identifier
            if ours and kind == "kernel_info_reply":
                return

    async def run(self, cell: dict[str, Any], number: int, on_output: Callable[[], None]) -> None:
        """Run a cell and put its outputs into it. ``on_output`` is called for each.

        Raises StepFailed when the cell ends with an error, or the kernel dies.
        """
        code = source(cell)
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        identifier = await self._send("execute_request", content)
        cell["outputs"], replied, idle = [], False, False
        while not (replied and idle):
            message = await self._receive()
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] in ("restarting", "dead"):
                raise StepFailed(f"the kernel died in cell {number}")
            if message["parent_header"].get("msg_id") != identifier:
                continue
            if kind in OUTPUTS:
                on_output()
                cell["outputs"].append(_output(kind, content))
            elif kind == "execute_reply":
                replied = True
                cell["execution_count"] = content.get("execution_count")
            elif kind == "status" and content["execution_state"] == "idle":
                idle = True
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                raise StepFailed(f"cell {number}: {output['ename']}: {output['evalue'][:200]}")

    async def _send(self, kind: str, content: dict[str, Any]) -> str:
        identifier = uuid.uuid4().hex
        header = {
            "msg_id": identifier,
            "msg_type": kind,
            "username": "",
            "session": self._session,
            "version": "5.3",
            "date": "",
        }
        message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        try:
            await self._socket.send_str(json.dumps(message))
        except ConnectionError as error:
            raise StepFailed("the kernel's connection was closed") from error
        return identifier

    async def _receive(self) -> dict[str, Any]:
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise StepFailed("the kernel's connection was closed")
        found: dict[str, Any] = json.loads(message.data)
        return found


def _output(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """An output as notebooks keep it."""
    keys = {
        "stream": ("name", "text"),
        "display_data": ("data", "metadata"),
        "execute_result": ("data", "metadata", "execution_count"),
        "error": ("ename", "evalue", "traceback"),
    }[kind]
    return {"output_type": kind, **{key: content[key] for key in keys}}
