"""A relay to the KMS emulator that a test can end, so that connections are refused: relay.py PID_FILE

Listens on KMS_RELAY_PORT. Ends by itself when the emulator is gone.
"""
import asyncio
import os
import sys

HOST = "127.0.0.1"
EMULATOR = int(os.environ["KMS_EMULATOR_PORT"])


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def connected(reader, writer):
    to_reader, to_writer = await asyncio.open_connection(HOST, EMULATOR)
    await asyncio.gather(copy(reader, to_writer), copy(to_reader, writer))


async def main():
    await asyncio.start_server(connected, HOST, int(os.environ["KMS_RELAY_PORT"]))
    with open(sys.argv[1], "w") as file:
        file.write(str(os.getpid()))
    while True:
        await asyncio.sleep(1)
        try:
            _, writer = await asyncio.open_connection(HOST, EMULATOR)
        except OSError:
            return
        writer.close()


asyncio.run(main())
