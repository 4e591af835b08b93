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


def connection(mode, statuses):
    """A connection of a client of its own, and the client; the status of every answer is added to `statuses`."""

    async def note(response):
        statuses.append(response.status_code)

    http = httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=20, event_hooks={"response": [note]})
    return http, Client(streamable_http_client(f"{BASE}/mcp", http_client=http), mode=mode, read_timeout_seconds=20)


async def calls_on(client):
    """Calls on and on until a call fails; what it failed with."""
    while True:
        try:
            await client.call_tool("agent_profile", {})
        except Exception as error:
            return error


async def connects(mode, statuses):
    http, client = connection(mode, statuses)
    async with http, client:
        await client.list_tools()


async def is_refused_once_revoked():
    statuses = []
    http, client = connection("legacy", statuses)
    async with http, client:
        streams = [asyncio.create_task(calls_on(client)) for _ in range(4)]
        while statuses.count(200) < 20:  # The script's own deadline bounds it.
            await asyncio.sleep(0.01)
        await asyncio.to_thread(admin, "/parallax-agents/scout/revoke", {"reason": "the test"})
        later = len(statuses)
        await asyncio.gather(*streams)
        # Calls that were under way may still have been answered. That nothing but 401 ended them tells a refusal from a
        # wait that ended and from a lost connection, for which the SDK raises the same.
        assert statuses[later:].count(200) <= len(streams) and statuses.count(401) == len(streams), statuses
        assert set(statuses) <= {200, 202, 401}, statuses
        statuses.clear()
        await fails(client.call_tool("agent_profile", {}))
        assert statuses == [401], statuses
        ok("calls that are under way at the revocation are the last, on the connection that is open")
    for mode in ("legacy", "auto"):
        statuses.clear()
        await fails(connects(mode, statuses))
        assert set(statuses) == {401}, (mode, statuses)
    ok("a client of a revoked agent that connects again is refused")


async def main():
    await tries("legacy", "2025-11-25")
    await tries("auto", "2026-07-28")
    await is_refused_once_revoked()


asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
