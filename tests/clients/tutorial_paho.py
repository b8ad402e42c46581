"""The tutorial's publisher or subscriber with paho-mqtt.

Usage: tutorial_paho.py pub|sub PORT FOLDER USER TOPIC [TEXT]; sub prints one message.
"""
import queue
import sys

import paho.mqtt.client as mqtt

WORD, PORT, FOLDER, USER, TOPIC = sys.argv[1:6]
TEXT = sys.argv[6] if len(sys.argv) > 6 else ""
WAIT_S = 60

connected, messages = queue.Queue(), queue.Queue()
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.tls_set(
    f"{FOLDER}/m2mqtt_ca.crt", f"{FOLDER}/{USER}.crt", f"{FOLDER}/{USER}.key", keyfile_password=f"{USER}-secret"
)
client.username_pw_set(USER, f"{USER}-pw")
client.on_connect = lambda client, data, flags, reason, properties: connected.put(reason)
client.on_message = lambda client, data, message: messages.put(message)
client.connect("localhost", int(PORT), 30)
client.loop_start()
reason = connected.get(timeout=WAIT_S)
assert not reason.is_failure, reason
if WORD == "pub":
    client.publish(TOPIC, TEXT, 1).wait_for_publish(WAIT_S)
else:
    client.subscribe(TOPIC, 1)
    print(messages.get(timeout=WAIT_S).payload.decode())
client.disconnect()
client.loop_stop()
