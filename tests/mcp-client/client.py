"""The official Python client of MCP, as an agent uses it: client.py BASE_URL KEY ADMIN_COOKIE."""

import asyncio
import json
import sys
import urllib.request

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

BASE, KEY, COOKIE = sys.argv[1:]
# The script as a whole gives up after this, in seconds.
DEADLINE_S = 90


def ok(claim):
    print(f"ok - {claim}", flush=True)


def admin(path, body):
    """Calls the service as its owner."""
    request = urllib.request.Request(
        f"{BASE}/api{path}",
        data=json.dumps(body).encode(),
        headers={"cookie": COOKIE, "content-type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def text_of(result):
    return json.loads(result.content[0].text)


async def fails(call):
    """What a call raises."""
    try:
        await call
    except Exception as error:  # The SDK has no common base class for what a server refuses.
        return error
    raise AssertionError("the call went through")


async def tries(mode, version):
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
        async with Client(streamable_http_client(f"{BASE}/api/mcp", http_client=http), mode=mode, read_timeout_seconds=20) as client:
            assert client.protocol_version == version, client.protocol_version
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert "agent_profile" in tools and "agent_claim_task" not in tools, tools
            ok(f"{version}: greeted, and the tools are those of the key")

            profile = await client.call_tool("agent_profile", {})
            assert not profile.is_error and text_of(profile)["id"] == "scout"
            wrong = await client.call_tool("agent_update_status", {"status": 7})
            assert wrong.is_error and text_of(wrong)["data"]["errors"][0]["field"] == "status", wrong
            refused = await fails(client.call_tool("agent_claim_task", {"taskId": "x"}))
            assert "write:tasks" in str(refused), refused
            ok(f"{version}: results, errors of arguments, and what permission is missing")

            contents = (await client.read_resource("ravendocs://agent")).contents
            assert json.loads(contents[0].text)["id"] == "scout"
            prompt = await client.get_prompt("create_documentation", {"topic": "Deployments"})
            assert "Deployments" in prompt.messages[0].content.text
            ok(f"{version}: resources and prompts")


async def main():
    await tries("legacy", "2025-11-25")
    await tries("auto", "2026-07-28")
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
        async with Client(streamable_http_client(f"{BASE}/mcp", http_client=http), mode="legacy", read_timeout_seconds=20) as client:
            await client.call_tool("agent_profile", {})
            admin("/parallax-agents/scout/revoke", {"reason": "the test"})
            await fails(client.call_tool("agent_profile", {}))
            ok("the first call after the revocation is refused, on the connection that is open")


asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
