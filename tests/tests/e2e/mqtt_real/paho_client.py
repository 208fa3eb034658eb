"""A client by paho-mqtt. Its settings are the argument; lines of JSON on its standard input tell it
what to do, and it tells what happens on its standard output: see `events.rs`."""

import json
import os
import sys
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

settings = json.loads(sys.argv[1])
version = settings["version"]
output = threading.Lock()
leaving = False


def say(event, **rest):
    with output:
        print(json.dumps({"event": event, **rest}), flush=True)


def end():
    """From whichever thread: nothing more is to be said."""
    if not settings["reconnect"]:
        os._exit(0)


def code(reason):
    """Numbers before MQTT 5.0, objects since."""
    return getattr(reason, "value", reason)


def on_connect(_client, _userdata, _flags, reason, _properties=None):
    if code(reason) == 0:
        say("connected")
    else:
        say("refused", code=code(reason))
        end()


def on_disconnect(_client, _userdata, reason, _properties=None):
    if leaving:
        say("left")
        os._exit(0)
    # Without a DISCONNECT of the broker's it is an error of the library's own.
    said = isinstance(reason, paho.ReasonCodes)
    say("disconnected", code=code(reason) if said else None)
    end()


def on_subscribe(_client, _userdata, _mid, granted, _properties=None):
    say("subscribed", qos=code(granted[0]))


def on_message(_client, _userdata, message):
    properties = getattr(getattr(message, "properties", None), "UserProperty", [])
    say(
        "received",
        topic=message.topic,
        payload=message.payload.decode(),
        qos=message.qos,
        property=dict(properties).get("said"),
    )


def publish(client, topic, qos, payload, property):
    properties = None
    if version == 5 and property is not None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = ("said", property)
    client.publish(topic, payload, qos, properties=properties)


def new_client():
    # Since 2.0 it has to be told whose callbacks these are.
    callbacks = getattr(paho, "CallbackAPIVersion", None)
    chosen = {"callback_api_version": callbacks.VERSION1} if callbacks else {}
    return paho.Client(client_id=settings["client_id"], protocol=version, **chosen)


client = new_client()
client.on_connect, client.on_disconnect = on_connect, on_disconnect
client.on_subscribe, client.on_message = on_subscribe, on_message
client.on_publish = lambda _client, _userdata, _mid: say("published")
client.username_pw_set(settings["username"], settings["password"])
client.reconnect_delay_set(1, 1)
if settings["ca"]:
    client.tls_set(settings["ca"])
try:
    client.connect(settings["host"], settings["port"])
except OSError as error:
    say("failed", text=str(error))
    sys.exit()
client.loop_start()
for line in sys.stdin:
    command = json.loads(line)
    what = command.pop("do")
    if what == "subscribe":
        client.subscribe(command["topic"], command["qos"])
    elif what == "publish":
        publish(client, **command)
    else:
        break
leaving = True
client.disconnect()
client.loop_stop()
