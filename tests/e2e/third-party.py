"""Runs a client of a Python package for third-party.test.mjs.

third-party.py bamboo URL TOKEN DIRECTORY   bamboo-claw
third-party.py sdk URL                      openclaw-sdk, with the identity in $HOME/.openclaw

Reads one JSON array [name, arguments...] a line from standard input, calls that method of the
client, and writes {"ok": result} or {"error": text} as a line.
"""

import asyncio
import json
import sys


class Bamboo:
    def __init__(self, url, token, directory):
        from bamboo_claw_client.gateway import GatewayClient

        self.client = GatewayClient(url, token, directory)
        self.status = []

        async def changed(connected):
            self.status.append(connected)

        self.client._on_status_change = changed

    async def connect(self):
        return (await self.client.connect())["payload"]

    async def device(self):
        return self.client._get_identity().device_id

    async def history(self, session):
        return await self.client.get_chat_history(session)

    async def chat(self, message):
        return await self.client.send_chat_message(message)

    async def reconnected(self):
        while not self.client.connected:
            await asyncio.sleep(0.05)
        return self.status

    async def close(self):
        await self.client.disconnect()


class Sdk:
    def __init__(self, url):
        self.url = url

    async def connect(self):
        from openclaw_sdk import OpenClawClient

        self.client = await OpenClawClient.connect(gateway_ws_url=self.url)

    async def health(self):
        health = await self.client.gateway.health()
        return {"healthy": health.healthy, "details": health.details}

    async def devices(self):
        return await self.client.devices.list_paired()

    async def nodes(self):
        return await self.client.nodes.list()

    async def call(self, method, params):
        return await self.client.gateway.call(method, params)

    async def close(self):
        await self.client.close()


async def main():
    client = {"bamboo": Bamboo, "sdk": Sdk}[sys.argv[1]](*sys.argv[2:])
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, *arguments = json.loads(line)
        try:
            answer = {"ok": await asyncio.wait_for(getattr(client, name)(*arguments), 20)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
