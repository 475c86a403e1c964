"""The agent as a task of asyncio, beside another that holds a connection with the certificate.

config.json as for enrol.py. firmware/main.py does the same as a frame, with a program of yours as
app.py.
"""

import asyncio
import gc

from wiring import Board

import configuration
from est.agent import Agent
from est.store import Store

HOST = "api.example.com"
PORT = 443
INTERVAL = 30  # seconds between lines
TIMEOUT = 60  # seconds


async def talk(identity):
    """Send lines and read the answers; a new connection shows the certificate of that day."""
    while not identity.chain:
        await asyncio.sleep(1)
    context = identity.context()
    while True:
        writer = None
        try:
            connecting = asyncio.open_connection(HOST, PORT, ssl=context, server_hostname=HOST)
            reader, writer = await asyncio.wait_for(connecting, TIMEOUT)
            while True:
                writer.write(b"generation %d\n" % identity.generation)
                await asyncio.wait_for(writer.drain(), TIMEOUT)
                line = await asyncio.wait_for(reader.readline(), TIMEOUT)
                if not line:
                    raise OSError(104)  # ECONNRESET
                print("answered: %s" % line.decode().strip())
                await asyncio.sleep(INTERVAL)
        except (OSError, asyncio.TimeoutError) as error:
            print("connection: %r" % error)
        if writer:
            writer.close()
        gc.collect()
        await asyncio.sleep(INTERVAL)


async def main():
    gc.threshold(4096)
    config, wrong = configuration.read("config.json")
    if wrong:
        print("\n".join(wrong))
        return
    board = Board()

    async def ready():
        # What it raises ends agent.run(): a program that shall live for ever tries again.
        await board.join(config.get("ssid"), config.get("password"), config.get("country"))
        await board.set_time(config.get("ntp", "pool.ntp.org"))

    store = Store(board.check_storage())
    agent = configuration.agent(Agent, config, store, board.unique_id(), log=print, on_event=print)
    asyncio.create_task(talk(agent.known))
    while True:
        try:
            await agent.run(None, ready)
        except Exception as error:
            print("%s: %s" % (type(error).__name__, error))
        await asyncio.sleep(INTERVAL)


asyncio.run(main())
