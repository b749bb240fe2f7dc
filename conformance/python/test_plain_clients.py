"""Clients that know nothing but MQTT 3.1.1: Debian's `mosquitto_pub` and `mosquitto_sub`, and PyPI
`paho-mqtt`. What the vendor's clients hide, these spell out."""

import json
import queue
import re
import ssl
import subprocess

import paho.mqtt.client as paho
import pytest
from support.operators import desire, invoke
from support.rest import signed
from support.waiting import LIMIT_SECS, eventually

NOT_AUTHORIZED, BAD_LOGIN = 5, 4
# What paho hears when the connection was closed without a word.
CLOSED = (paho.MQTT_ERR_CONN_LOST, paho.MQTT_ERR_PROTOCOL, paho.MQTT_ERR_NOMEM)


class Plain:
    """A paho client that writes down every packet."""

    def __init__(self, world, host, client_id, user, password=None, websockets=None, clean=True):
        transport = {"transport": "websockets"} if websockets else {}
        self.client = paho.Client(client_id=client_id, clean_session=clean, protocol=paho.MQTTv311, **transport)
        if websockets:
            self.client.ws_set_options(path=websockets)
        self.client.tls_set_context(ssl.create_default_context(cafile=world["authority"]))
        self.client.username_pw_set(user, password)
        self.answers, self.received, self.acknowledged, self.ends = (queue.Queue() for _ in range(4))
        # The order in which packets came: the acknowledgement of a request before its answer.
        self.packets = []
        self.client.on_connect = lambda _, __, flags, code: self.answers.put((code, flags["session present"]))
        self.client.on_subscribe = lambda _, __, ___, granted: self.acknowledged.put(granted)
        self.client.on_publish = lambda _, __, message_id: self.packets.append(("acknowledged", message_id))
        self.client.on_message = self.take
        self.client.on_disconnect = self.leave
        self.host, self.port = host, 443 if websockets else 8883

    def take(self, _client, _userdata, message):
        self.packets.append(("message", message.topic))
        self.received.put(message)

    def leave(self, client, _userdata, code):
        # Else paho would come back by itself, again and again.
        client.disconnect()
        self.ends.put(code)

    def connect(self):
        """What CONNACK says: its code, and whether a session was there."""
        self.client.connect(self.host, self.port)
        self.client.loop_start()
        return self.answers.get(timeout=LIMIT_SECS)

    def subscribe(self, topic, qos=1):
        self.client.subscribe(topic, qos)
        return list(self.acknowledged.get(timeout=LIMIT_SECS))

    def publish(self, topic, payload="", qos=1):
        return self.client.publish(topic, payload, qos)

    def next(self):
        message = self.received.get(timeout=LIMIT_SECS)
        return message.topic, message.payload.decode()

    def request(self, topic, payload="", qos=1):
        """Publishes, and returns what comes back."""
        self.publish(topic, payload, qos)
        return self.next()

    def is_closed(self):
        """The server closes the connection, without a packet."""
        assert self.ends.get(timeout=LIMIT_SECS) in CLOSED

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def plain(world):
    made = []

    def plain(*args, **kwargs):
        made.append(Plain(world, *args, **kwargs))
        return made[-1]

    yield plain
    for one in made:
        one.end()


@pytest.fixture
def enrolled(world, provisioning, unique_id):
    """A new enrollment: how its device introduces itself, and its token."""
    registration_id = unique_id("press")
    key = provisioning.enroll(registration_id, {"type": "symmetricKey"})["attestation"]["symmetricKey"]["primaryKey"]
    scope = world["idScope"]
    return {
        "client_id": registration_id,
        "user": f"{scope}/registrations/{registration_id}/api-version=2019-03-31&ClientVersion=plain",
        "password": signed(f"{scope}/registrations/{registration_id}", key, policy="registration"),
    }


def at_hub(hub, device, life_secs=600):
    """How a device introduces itself at its hub, and its token."""
    return {
        "client_id": device.device_id,
        "user": f"{hub.host}/{device.device_id}/?api-version=2021-04-12",
        "password": signed(
            f"{hub.host}/devices/{device.device_id}", device.authentication.symmetric_key.primary_key, life_secs
        ),
    }


def mosquitto(tool, world, host, login, *more):
    command = [f"mosquitto_{tool}", "-h", host, "-p", "8883", "--cafile", world["authority"], "-V", "mqttv311", "-q", "1",
               "-i", login["client_id"], "-u", login["user"], "-P", login["password"], *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ends(process):
    """The code and the output of a tool that ends by itself."""
    out, err = process.communicate(timeout=LIMIT_SECS)
    return process.returncode, out.strip(), err.strip()


RESPONSES = "$dps/registrations/res/#"
REGISTER = "$dps/registrations/PUT/iotdps-register/?$rid={}"
POLL = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid={}&operationId={}"


@pytest.mark.parametrize("websockets", [None, "/$iothub/websocket", "/mqtt", "/"])
def test_a_registration_from_connect_to_assigned(world, plain, enrolled, websockets):
    host = world["provisioning"]["host"]
    device = plain(host, **enrolled, websockets=websockets)
    assert device.connect() == (0, 0)
    assert device.subscribe(RESPONSES) == [1]
    topic, body = device.request(REGISTER.format("2"))
    answer = json.loads(body)
    retry_after = re.fullmatch(r"\$dps/registrations/res/202/\?\$rid=2&retry-after=(\d+)", topic)
    assert retry_after and 1 <= int(retry_after[1]) <= 60, topic
    assert answer["status"] == "assigning"
    operation_id = answer["operationId"]
    # There is nothing to wait for: built-in hubs assign at once.
    topic, body = device.request(POLL.format("3", operation_id))
    state = json.loads(body)["registrationState"]
    assert topic == "$dps/registrations/res/200/?$rid=3"
    assert (state["registrationId"], state["status"]) == (enrolled["client_id"], "assigned")
    assert state["assignedHub"] in [hub["host"] for hub in world["hubs"].values()]
    kinds = [kind for kind, _ in device.packets]
    assert kinds == ["acknowledged", "message", "acknowledged", "message"], device.packets


def test_requests_without_acknowledgement_and_with_any_body_are_answered(world, plain, enrolled):
    device = plain(world["provisioning"]["host"], **enrolled)
    assert device.connect()[0] == 0
    assert device.subscribe(RESPONSES, qos=2) == [1]
    registration = json.dumps({"registrationId": enrolled["client_id"]})
    operations = set()
    for body in ("", " ", registration, json.dumps({"payload": {"a": 1}})):
        # Embedded C has the same number in every request, and it may be anything.
        topic, answer = device.request(REGISTER.format("1%2F-x"), body, qos=0)
        assert topic.startswith("$dps/registrations/res/202/?$rid=1%2F-x&retry-after=")
        operations.add(json.loads(answer)["operationId"])
    for operation_id in operations:
        topic, answer = device.request(POLL.format("1%2F-x", operation_id), registration, qos=0)
        assert topic == "$dps/registrations/res/200/?$rid=1%2F-x"
        assert json.loads(answer)["status"] == "assigned"


def wrong_client_id(login):
    return {**login, "client_id": "other"}


def no_api_version(login):
    return {**login, "user": login["user"].split("/api-version")[0] + "/ClientVersion=x"}


def token_of_another(login):
    return {**login, "password": login["password"].replace(login["client_id"], "other")}


def expired(login):
    return {**login, "password": re.sub(r"se=\d+", "se=1", login["password"])}


def neither_token_nor_certificate(login):
    return {**login, "password": None}


@pytest.mark.parametrize("wrong", [wrong_client_id, no_api_version, token_of_another, expired, neither_token_nor_certificate])
def test_what_can_be_told_without_looking_up_is_refused_at_once(world, plain, enrolled, wrong):
    assert plain(world["provisioning"]["host"], **wrong(enrolled)).connect() == (NOT_AUTHORIZED, 0)


def test_a_name_that_cannot_be_read_is_a_bad_login(world, plain, enrolled):
    login = {**enrolled, "user": f"{world['idScope']}/registrations"}
    assert plain(world["provisioning"]["host"], **login).connect() == (BAD_LOGIN, 0)


def test_a_wrong_signature_is_told_when_the_device_registers(world, plain, enrolled):
    token = signed(f"{world['idScope']}/registrations/{enrolled['client_id']}", "bm90IHRoZSBrZXk=", policy="registration")
    device = plain(world["provisioning"]["host"], **{**enrolled, "password": token})
    assert device.connect() == (0, 0)
    device.subscribe(RESPONSES)
    topic, body = device.request(REGISTER.format("a"))
    assert topic == "$dps/registrations/res/401/?$rid=a"
    refusal = json.loads(body)
    assert refusal["errorCode"] == 401002
    assert refusal["trackingId"] and refusal["message"] and refusal["timestampUtc"]


@pytest.mark.parametrize("topic, qos", [("$dps/elsewhere", 1), ("devices/x/messages/events/", 0), (REGISTER.format("1"), 2)])
def test_what_nobody_official_sends_while_provisioning_ends_the_connection(world, plain, enrolled, topic, qos):
    device = plain(world["provisioning"]["host"], **enrolled)
    assert device.connect()[0] == 0
    device.publish(topic, qos=qos)
    device.is_closed()


def test_mosquitto_sends_events(world, hub, device):
    login = at_hub(hub, device)
    topic = f"devices/{device.device_id}/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8&colour=red%26blue&bare&empty="
    code, _, err = ends(mosquitto("pub", world, hub.host, login, "-t", topic, "-m", '{"n":1.50}'))
    assert code == 0, err
    code, _, err = ends(mosquitto("pub", world, hub.host, login, "-t", topic.split("%")[0].rstrip("/"), "-m", "raw", "-r"))
    assert code == 0, err
    rich, bare = hub.events_of(device.device_id, 2)
    assert rich["body"] == {"n": 1.5}
    assert rich["applicationProperties"] == {"colour": "red&blue", "bare": None, "empty": ""}
    assert bare["applicationProperties"] == {"mqtt-retain": "true"}
    assert bare["bodyBase64"] == "cmF3"


def test_mosquitto_takes_messages_that_waited_through_the_session_it_left(world, hub, manager, device):
    login, topic = at_hub(hub, device), f"devices/{device.device_id}/messages/devicebound/#"
    sub = ["-c", "-t", topic, "-C", "1", "-F", "%t %p"]
    hub.send(device.device_id, messageId="one", bodyText="first", properties={"k": "a/b c"})
    code, out, err = ends(mosquitto("sub", world, hub.host, login, *sub))
    assert code == 0, err
    path, body = out.split(" ", 1)
    assert body == "first"
    bag = path.removeprefix(f"devices/{device.device_id}/messages/devicebound/").split("&")
    assert "%24.mid=one" in bag and "k=a%2Fb%20c" in bag
    assert f"%24.to=%2Fdevices%2F{device.device_id}%2Fmessages%2FdeviceBound".lower() in [pair.lower() for pair in bag]
    hub.send(device.device_id, messageId="two", bodyText="second")
    # Nothing is subscribed here: the filter is that of the session before.
    code, out, err = ends(mosquitto("sub", world, hub.host, login, "-c", "-t", "$iothub/twin/res/#", "-C", "1", "-F", "%p"))
    assert (code, out) == (0, "second"), err


def test_mosquitto_is_told_that_it_may_not_come_in(world, hub, manager, device):
    keys = device.authentication.symmetric_key
    manager.update_device_with_sas(device.device_id, device.etag, keys.primary_key, keys.secondary_key, "disabled")
    topic = f"devices/{device.device_id}/messages/events/"
    code, _, err = ends(mosquitto("pub", world, hub.host, at_hub(hub, device), "-t", topic, "-m", "x"))
    assert code == NOT_AUTHORIZED
    assert "not authorised" in err.lower()


TWIN_ANSWERS, DESIRED, METHODS = "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#", "$iothub/methods/POST/#"


@pytest.mark.parametrize("websockets", [None, "/$iothub/websocket"])
def test_a_device_from_its_first_connect_to_its_deletion(plain, hub, manager, device, websockets):
    device_id, login = device.device_id, at_hub(hub, device)
    desire(manager, device_id, interval=60)
    first = plain(hub.host, **login, websockets=websockets, clean=False)
    assert first.connect() == (0, 0)
    assert manager.get_twin(device_id).connection_state == "Connected"
    assert first.subscribe(TWIN_ANSWERS) == [1]
    topic, body = first.request("$iothub/twin/GET/?$rid=4b1c-%41", " ")
    assert topic == "$iothub/twin/res/200/?$rid=4b1c-%41"
    assert json.loads(body) == {"desired": {"interval": 60, "$version": 2}, "reported": {"$version": 1}}
    assert first.subscribe(DESIRED) == [1]
    assert first.subscribe(METHODS, qos=0) == [0]
    event = f"devices/{device_id}/messages/events/%24.mid=1&%24.ct=application%2Fjson&%24.ce=utf-8&k=v"
    first.publish(event, '{"t":1}').wait_for_publish(LIMIT_SECS)
    [stored] = hub.events_of(device_id, 1)
    assert (stored["body"], stored["properties"]["messageId"], stored["applicationProperties"]) == ({"t": 1}, "1", {"k": "v"})
    topic, body = first.request("$iothub/twin/PATCH/properties/reported/?$rid=5", '{"battery":80}')
    assert (topic, body) == ("$iothub/twin/res/204/?$rid=5&$version=2", "")
    topic, body = first.request("$iothub/twin/PATCH/properties/reported/?$rid=6", '["no object"]')
    assert topic == "$iothub/twin/res/400/?$rid=6"
    assert json.loads(body)["errorCode"] // 1000 == 400
    desire(manager, device_id, interval=30)
    topic, body = first.next()
    assert (topic, json.loads(body)) == ("$iothub/twin/PATCH/properties/desired/?$version=3", {"interval": 30, "$version": 3})

    # The new connection takes the place of the old one, and its subscriptions.
    second = plain(hub.host, **at_hub(hub, device), websockets=websockets, clean=False)
    assert second.connect() == (0, 1)
    first.is_closed()
    topic, _ = second.request("$iothub/twin/GET/?$rid=7")
    assert topic == "$iothub/twin/res/200/?$rid=7"

    keys = device.authentication.symmetric_key
    manager.update_device_with_sas(device_id, "*", keys.primary_key, keys.secondary_key, "disabled")
    second.is_closed()
    eventually(lambda: manager.get_twin(device_id).connection_state == "Disconnected", "disconnected")
    assert plain(hub.host, **login, websockets=websockets, clean=False).connect() == (NOT_AUTHORIZED, 0)
    manager.delete_device(device_id)
    assert plain(hub.host, **login, websockets=websockets, clean=False).connect() == (NOT_AUTHORIZED, 0)
    # One that is made again has nothing of the old one: no session either.
    manager.create_device_with_sas(device_id, keys.primary_key, keys.secondary_key, "enabled")
    assert plain(hub.host, **login, websockets=websockets, clean=False).connect() == (0, 0)


def test_a_clean_session_forgets_the_one_before(plain, hub, device):
    login = at_hub(hub, device)
    lasting = plain(hub.host, **login, clean=False)
    assert lasting.connect() == (0, 0)
    lasting.subscribe(TWIN_ANSWERS)
    lasting.end()
    assert plain(hub.host, **login, clean=True).connect() == (0, 0)
    assert plain(hub.host, **login, clean=False).connect() == (0, 0)


def test_a_method_reaches_a_plain_client_and_its_answer_comes_back(plain, hub, manager, device):
    client = plain(hub.host, **at_hub(hub, device))
    assert client.connect() == (0, 0)
    client.subscribe(METHODS, qos=0)

    def answer(_client, _userdata, message):
        path, rid = re.fullmatch(r"\$iothub/methods/POST/([^/]+)/\?\$rid=([0-9a-f]+)", message.topic).groups()
        client.received.put((path, message.payload))
        client.publish(f"$iothub/methods/res/418/?$rid={rid}", '{"short": "and stout", "n": 1.50}', qos=0)

    client.client.on_message = answer
    answered = invoke(manager, device.device_id, method_name="a b", payload={"x": 1})
    assert (answered.status, answered.payload) == (418, {"short": "and stout", "n": 1.5})
    path, payload = client.received.get(timeout=LIMIT_SECS)
    # As it is: half of the vendor's clients do not decode it.
    assert (path, json.loads(payload)) == ("a b", {"x": 1})


@pytest.mark.parametrize("name", ["a/b", "a#b", "a+b", "a?b", "", "x" * 101])
def test_a_method_whose_name_no_topic_can_carry_is_refused(plain, hub, manager, device, refused, name):
    client = plain(hub.host, **at_hub(hub, device))
    assert client.connect() == (0, 0)
    client.subscribe(METHODS, qos=0)
    refused(400, "ArgumentInvalid", invoke, manager, device.device_id, method_name=name)


def test_a_will_is_an_event_of_a_device_that_was_lost(plain, hub, device):
    client = plain(hub.host, **at_hub(hub, device))
    client.client.will_set(f"devices/{device.device_id}/messages/events/why=lost", "farewell", qos=1)
    assert client.connect() == (0, 0)
    # Lost, not left: a second one that leaves in order leaves no will.
    client.client.socket().shutdown(2)
    [will] = hub.events_of(device.device_id, 1)
    assert will["bodyBase64"] == "ZmFyZXdlbGw="
    assert will["applicationProperties"] == {"why": "lost", "iothub-MessageType": "Will"}
    second = plain(hub.host, **at_hub(hub, device))
    second.client.will_set(f"devices/{device.device_id}/messages/events/", "farewell", qos=1)
    assert second.connect() == (0, 0)
    second.publish(f"devices/{device.device_id}/messages/events/", "last words").wait_for_publish(LIMIT_SECS)
    second.end()
    hub.events_of(device.device_id, 2)


@pytest.mark.parametrize("topic, qos", [("somewhere/else", 1), ("devices/other/messages/events/", 1), ("$iothub/nothing", 0)])
def test_a_topic_that_is_not_there_ends_the_connection(plain, hub, device, topic, qos):
    client = plain(hub.host, **at_hub(hub, device))
    assert client.connect() == (0, 0)
    client.publish(topic, "x", qos)
    client.is_closed()


def test_qos_2_ends_the_connection_and_foreign_filters_are_refused(plain, hub, device):
    client = plain(hub.host, **at_hub(hub, device))
    assert client.connect() == (0, 0)
    assert client.subscribe("#") == [128]
    assert client.subscribe("devices/other/messages/devicebound/#") == [128]
    assert client.subscribe(TWIN_ANSWERS, qos=2) == [1]
    client.publish(f"devices/{device.device_id}/messages/events/", "x", qos=2)
    client.is_closed()


def another_device(hub, device):
    login, other = at_hub(hub, device), f"{device.device_id}0"
    return {**login, "client_id": other, "user": login["user"].replace(device.device_id, other)}


def no_token(hub, device):
    return {**at_hub(hub, device), "password": None}


def ended_token(hub, device):
    return at_hub(hub, device, life_secs=-10)


def other_client_id(hub, device):
    return {**at_hub(hub, device), "client_id": "other"}


def unreadable_name(hub, device):
    return {**at_hub(hub, device), "user": hub.host}


@pytest.mark.parametrize("wrong", [another_device, no_token, ended_token, other_client_id, unreadable_name])
def test_a_hub_says_no_in_one_way(plain, hub, device, wrong):
    assert plain(hub.host, **wrong(hub, device)).connect() == (NOT_AUTHORIZED, 0)
