"""paho-mqtt against a broker: QoS 0 to 2, retained, will, takeover, a persistent session, for 3.1.1 and 5.0.

Usage: paho_client.py PORT [CA_FILE] [--websockets]; prints "all passed" and exits 0, or ends with an error.
"""
import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TRANSPORT = "websockets" if "--websockets" in sys.argv else "tcp"
ARGUMENTS = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
PORT = int(ARGUMENTS[0])
CA_FILE = ARGUMENTS[1] if len(ARGUMENTS) > 1 else None
WAIT_S = 10


class Client:
    """A paho client that waits for what it expects."""

    def __init__(self, identifier, version, persistent=False, will=None):
        self.version = version
        self.messages = queue.Queue()
        self.subscribed = threading.Event()
        self.connected = queue.Queue()
        self.disconnected = threading.Event()
        five = version == mqtt.MQTTv5
        options = {} if five else {"clean_session": not persistent}
        callbacks = mqtt.CallbackAPIVersion.VERSION2
        self.paho = mqtt.Client(callbacks, identifier, protocol=version, transport=TRANSPORT, **options)
        self.paho.on_connect = lambda client, data, flags, reason, properties: self.connected.put((flags, reason))
        self.paho.on_subscribe = lambda *arguments: self.subscribed.set()
        self.paho.on_disconnect = lambda *arguments: self.disconnected.set()
        self.paho.on_message = lambda client, data, message: self.messages.put(message)
        if will:
            self.paho.will_set(*will)
        if CA_FILE:
            self.paho.tls_set(CA_FILE)
        options = {}
        if five:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600 if persistent else 0
            options = {"clean_start": not persistent, "properties": properties}
        self.paho.connect("localhost", PORT, 30, **options)
        self.paho.loop_start()
        flags, reason = self.connected.get(timeout=WAIT_S)
        assert not reason.is_failure, reason
        self.session_present = flags.session_present

    def subscribe(self, topic, qos):
        self.subscribed.clear()
        self.paho.subscribe(topic, qos)
        assert self.subscribed.wait(WAIT_S), "no SUBACK"

    def publish(self, topic, payload, qos, retain=False):
        self.paho.publish(topic, payload, qos, retain).wait_for_publish(WAIT_S)

    def expect(self, topic, payload, qos, retain=False):
        message = self.messages.get(timeout=WAIT_S)
        got = (message.topic, message.payload, message.qos, bool(message.retain))
        assert got == (topic, payload, qos, retain), got

    def end(self):
        self.paho.disconnect()
        assert self.disconnected.wait(WAIT_S), "not disconnected"
        self.paho.loop_stop()

    def cut(self):
        self.paho.loop_stop()
        self.paho.socket().close()


def delivery(version):
    subscriber, publisher = Client("s", version), Client("p", version)
    for qos in (0, 1, 2):
        subscriber.subscribe(f"paho/{qos}", qos)
        for number in range(20):
            publisher.publish(f"paho/{qos}", b"%d" % number, qos)
        for number in range(20):
            subscriber.expect(f"paho/{qos}", b"%d" % number, qos)
    subscriber.end()
    publisher.end()


def retained(version):
    publisher = Client("p", version)
    publisher.publish("paho/retained", b"kept", 1, True)
    subscriber = Client("s", version)
    subscriber.subscribe("paho/retained", 1)
    subscriber.expect("paho/retained", b"kept", 1, True)
    publisher.publish("paho/retained", b"", 1, True)
    subscriber.end()
    publisher.end()


def will(version):
    watcher = Client("w", version)
    watcher.subscribe("paho/will", 1)
    Client("dying", version, will=("paho/will", b"gone", 1)).cut()
    watcher.expect("paho/will", b"gone", 1)
    watcher.end()


def takeover(version):
    first = Client("same", version)
    second = Client("same", version)
    assert first.disconnected.wait(WAIT_S), "the older connection was not closed"
    first.paho.loop_stop()
    second.subscribe("paho/takeover", 0)
    second.publish("paho/takeover", b"x", 0)
    second.expect("paho/takeover", b"x", 0)
    second.end()


def session(version):
    client = Client(f"kept-{version}", version, persistent=True)
    client.subscribe("paho/session", 2)
    client.end()
    publisher = Client("p", version)
    for qos in (1, 2):
        publisher.publish("paho/session", b"%d" % qos, qos)
    client = Client(f"kept-{version}", version, persistent=True)
    assert client.session_present, "the session was not kept"
    client.expect("paho/session", b"1", 1)
    client.expect("paho/session", b"2", 2)
    client.end()
    publisher.end()


for protocol in (mqtt.MQTTv311, mqtt.MQTTv5):
    for check in (delivery, retained, will, takeover, session):
        print(check.__name__, protocol, flush=True)
        check(protocol)
print("all passed")
