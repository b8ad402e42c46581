"""gmqtt (asyncio) against a broker: QoS 0 to 2, retained, will, takeover, a persistent session, properties.

Usage: gmqtt_client.py PORT [CA_FILE]; prints "all passed" and exits 0, or ends with an error.
"""
import asyncio
import ssl
import sys

import gmqtt
from gmqtt.mqtt.constants import MQTTv311, MQTTv50

PORT = int(sys.argv[1])
CONTEXT = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else False
WAIT_S = 10


class Client:
    """A gmqtt client that waits for what it expects."""

    @classmethod
    async def connect(cls, identifier, version, persistent=False, will=None):
        self = cls()
        self.messages = asyncio.Queue()
        self.connected = asyncio.get_running_loop().create_future()
        self.disconnected = asyncio.Event()
        self.subscribed = asyncio.Event()
        options = {"session_expiry_interval": 3600} if persistent and version == MQTTv50 else {}
        self.gmqtt = gmqtt.Client(identifier, clean_session=not persistent, will_message=will, **options)
        self.gmqtt.set_config({"reconnect_retries": 0})
        self.gmqtt.on_connect = lambda client, flags, code, properties: self.connected.set_result((flags, code))
        self.gmqtt.on_message = self.take
        self.gmqtt.on_subscribe = lambda *arguments: self.subscribed.set()
        self.gmqtt.on_disconnect = lambda *arguments: self.disconnected.set()
        await self.gmqtt.connect("localhost", PORT, ssl=CONTEXT, version=version)
        flags, code = await asyncio.wait_for(self.connected, WAIT_S)
        assert code == 0, code
        self.session_present = flags & 1 == 1
        return self

    def take(self, client, topic, payload, qos, properties):
        self.messages.put_nowait((topic, bytes(payload), qos, properties))
        return 0

    async def subscribe(self, topic, qos, **options):
        self.subscribed.clear()
        self.gmqtt.subscribe(topic, qos=qos, **options)
        await asyncio.wait_for(self.subscribed.wait(), WAIT_S)

    async def expect(self, topic, payload, qos):
        got = await asyncio.wait_for(self.messages.get(), WAIT_S)
        assert got[:3] == (topic, payload, qos), got
        return got[3]

    async def end(self):
        try:
            await self.gmqtt.disconnect()
        except ssl.SSLError:
            # The broker's last acknowledgement met the client's close; Python's TLS calls that an error.
            pass

    async def cut(self):
        self.gmqtt._connection._transport.abort()


async def delivery(version):
    # As many as a server with a small Receive Maximum takes at once: gmqtt refuses to publish more.
    subscriber, publisher = await Client.connect("s", version), await Client.connect("p", version)
    for qos in (0, 1, 2):
        await subscriber.subscribe(f"gmqtt/{qos}", qos)
        for number in range(10):
            publisher.gmqtt.publish(f"gmqtt/{qos}", b"%d" % number, qos=qos)
        for number in range(10):
            await subscriber.expect(f"gmqtt/{qos}", b"%d" % number, qos)
    await subscriber.end()
    await publisher.end()


async def retained(version):
    client = await Client.connect("r", version)
    await client.subscribe("gmqtt/first", 1)
    client.gmqtt.publish("gmqtt/retained", b"kept", qos=1, retain=True)
    client.gmqtt.publish("gmqtt/first", b"stored", qos=1)
    await client.expect("gmqtt/first", b"stored", 1)
    await client.subscribe("gmqtt/retained", 1)
    properties = await client.expect("gmqtt/retained", b"kept", 1)
    assert properties["retain"] == 1, properties
    client.gmqtt.publish("gmqtt/retained", b"", qos=1, retain=True)
    await client.expect("gmqtt/retained", b"", 1)
    await client.end()


async def will(version):
    watcher = await Client.connect("w", version)
    await watcher.subscribe("gmqtt/will", 1)
    message = gmqtt.Message("gmqtt/will", b"gone", qos=1)
    dying = await Client.connect("dying", version, will=message)
    await dying.cut()
    await watcher.expect("gmqtt/will", b"gone", 1)
    await watcher.end()


async def takeover(version):
    first = await Client.connect("same", version)
    second = await Client.connect("same", version)
    await asyncio.wait_for(first.disconnected.wait(), WAIT_S)
    await second.subscribe("gmqtt/takeover", 0)
    second.gmqtt.publish("gmqtt/takeover", b"x", qos=0)
    await second.expect("gmqtt/takeover", b"x", 0)
    await second.end()


async def session(version):
    identifier = f"gmqtt-kept-{version}"
    client = await Client.connect(identifier, version, persistent=True)
    await client.subscribe("gmqtt/session", 2)
    await client.end()
    publisher = await Client.connect("p", version)
    await publisher.subscribe("gmqtt/session", 0)
    for qos in (1, 2):
        publisher.gmqtt.publish("gmqtt/session", b"%d" % qos, qos=qos)
        await publisher.expect("gmqtt/session", b"%d" % qos, 0)
    client = await Client.connect(identifier, version, persistent=True)
    assert client.session_present, "the session was not kept"
    await client.expect("gmqtt/session", b"1", 1)
    await client.expect("gmqtt/session", b"2", 2)
    await client.end()
    await publisher.end()


async def properties():
    subscriber, publisher = await Client.connect("s", MQTTv50), await Client.connect("p", MQTTv50)
    await subscriber.subscribe("gmqtt/five", 1, subscription_identifier=9)
    user = [("b", "2"), ("a", "1")]
    publisher.gmqtt.publish("gmqtt/five", b"x", qos=1, content_type="text/plain", message_expiry_interval=60,
                            response_topic="answer", correlation_data=b"\x01", user_property=user)
    got = await subscriber.expect("gmqtt/five", b"x", 1)
    assert got["content_type"] == ["text/plain"] and got["response_topic"] == ["answer"], got
    assert got["correlation_data"] == [b"\x01"] and got["user_property"] == user, got
    assert got["subscription_identifier"] == [9] and got["message_expiry_interval"][0] in (59, 60), got
    await subscriber.end()
    await publisher.end()


async def main():
    for version in (MQTTv311, MQTTv50):
        for check in (delivery, retained, will, takeover, session):
            print(check.__name__, version, flush=True)
            await asyncio.wait_for(check(version), 60)
    await properties()
    print("all passed")


asyncio.run(main())
