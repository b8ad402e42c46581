"""paho-mqtt (1.6 or 2.x) against a broker: QoS 0 to 2, retained, will, takeover, a persistent session, for 3.1.1 and 5.0,
and what 5.0 adds.

Usage: paho_client.py PORT [CA_FILE] [--websockets]; prints "all passed" and exits 0, or ends with an error.
"""
import queue
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

TRANSPORT = "websockets" if "--websockets" in sys.argv else "tcp"
ARGUMENTS = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
PORT = int(ARGUMENTS[0])
CA_FILE = ARGUMENTS[1] if len(ARGUMENTS) > 1 else None
WAIT_S = 10
# paho-mqtt 2 wants to know which callbacks it may call.
CALLBACKS = (mqtt.CallbackAPIVersion.VERSION2,) if hasattr(mqtt, "CallbackAPIVersion") else ()


class Client:
    """A paho client that waits for what it expects."""

    def __init__(self, identifier, version, persistent=False, will=None, will_properties=None):
        self.version = version
        self.messages = queue.Queue()
        self.subscribed = threading.Event()
        self.connected = queue.Queue()
        self.disconnected = threading.Event()
        five = version == mqtt.MQTTv5
        options = {} if five else {"clean_session": not persistent}
        self.paho = mqtt.Client(*CALLBACKS, identifier, protocol=version, transport=TRANSPORT, **options)
        self.paho.on_connect = lambda client, data, flags, reason, *rest: self.connected.put((flags, reason, *rest))
        self.paho.on_subscribe = lambda *arguments: self.subscribed.set()
        self.paho.on_disconnect = lambda *arguments: self.disconnected.set()
        self.paho.on_message = lambda client, data, message: self.messages.put(message)
        if will:
            self.paho.will_set(*will, **({"properties": will_properties} if will_properties else {}))
        if CA_FILE:
            self.paho.tls_set(CA_FILE)
        options = {}
        if five:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600 if persistent else 0
            options = {"clean_start": not persistent, "properties": properties}
        self.paho.connect("localhost", PORT, 30, **options)
        self.paho.loop_start()
        flags, reason, *self.properties = self.connected.get(timeout=WAIT_S)
        assert getattr(reason, "value", reason) == 0, reason
        self.session_present = bool(flags["session present"] if isinstance(flags, dict) else flags.session_present)

    def subscribe(self, topic, qos, **options):
        self.subscribed.clear()
        self.paho.subscribe(topic, qos, **options)
        assert self.subscribed.wait(WAIT_S), "no SUBACK"

    def publish(self, topic, payload, qos, retain=False, **options):
        self.paho.publish(topic, payload, qos, retain, **options).wait_for_publish(WAIT_S)

    def expect(self, topic, payload, qos, retain=False):
        message = self.messages.get(timeout=WAIT_S)
        got = (message.topic, message.payload, message.qos, bool(message.retain))
        assert got == (topic, payload, qos, retain), got
        return getattr(message, "properties", None)

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


def message_properties():
    """What a message carries arrives as it was sent, beside the subscriber's own identifier; aliases stay on their hop."""
    subscriber, publisher = Client("s", mqtt.MQTTv5), Client("p", mqtt.MQTTv5)
    identifier = Properties(PacketTypes.SUBSCRIBE)
    identifier.SubscriptionIdentifier = 7
    subscriber.subscribe("paho/five/+", 0, options=SubscribeOptions(qos=2), properties=identifier)
    sent = Properties(PacketTypes.PUBLISH)
    sent.PayloadFormatIndicator = 1
    sent.MessageExpiryInterval = 1000
    sent.ContentType = "text/plain"
    sent.ResponseTopic = "answer/here"
    sent.CorrelationData = b"\x00\x01"
    sent.UserProperty = [("b", "2"), ("a", "1"), ("b", "3")]
    sent.TopicAlias = 3
    publisher.publish("paho/five/x", b"first", 2, properties=sent)
    publisher.publish("", b"by alias", 2, properties=alias(3))
    got = subscriber.expect("paho/five/x", b"first", 2)
    assert got.PayloadFormatIndicator == 1 and got.ContentType == "text/plain", got
    assert got.ResponseTopic == "answer/here" and got.CorrelationData == b"\x00\x01", got
    assert got.UserProperty == [("b", "2"), ("a", "1"), ("b", "3")], got
    assert 990 <= got.MessageExpiryInterval <= 1000, got
    assert got.SubscriptionIdentifier == [7], got
    subscriber.expect("paho/five/x", b"by alias", 2)
    subscriber.end()
    publisher.end()


def alias(number):
    properties = Properties(PacketTypes.PUBLISH)
    properties.TopicAlias = number
    return properties


def subscription_options():
    """No Local, Retain As Published and Retain Handling."""
    client = Client("o", mqtt.MQTTv5)
    client.subscribe("paho/own", 0, options=SubscribeOptions(qos=1, noLocal=True))
    client.publish("paho/own", b"not for me", 1)
    client.publish("paho/kept", b"kept", 1, True)
    once = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    client.subscribe("paho/kept", 0, options=once)
    client.expect("paho/kept", b"kept", 1, True)
    client.subscribe("paho/kept", 0, options=once)
    client.publish("paho/kept", b"", 1, True)
    client.expect("paho/kept", b"", 1, True)
    client.end()


def will_delay():
    """A Will waits for its delay, and goes where the session ends first."""
    watcher = Client("w", mqtt.MQTTv5)
    watcher.subscribe("paho/late", 1)
    delay = Properties(PacketTypes.WILLMESSAGE)
    delay.WillDelayInterval = 1
    will = ("paho/late", b"gone", 1)
    begin = time.monotonic()
    Client("late", mqtt.MQTTv5, persistent=True, will=will, will_properties=delay).cut()
    watcher.expect("paho/late", b"gone", 1)
    assert time.monotonic() - begin > 0.9, "the Will did not wait"
    watcher.end()


for protocol in (mqtt.MQTTv311, mqtt.MQTTv5):
    for check in (delivery, retained, will, takeover, session):
        print(check.__name__, protocol, flush=True)
        check(protocol)
for check in (message_properties, subscription_options, will_delay):
    print(check.__name__, flush=True)
    check()
print("all passed")
