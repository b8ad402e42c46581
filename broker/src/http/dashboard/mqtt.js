// A small client of MQTT 5.0 over WebSocket: QoS 0 and 1, a new session, no Will.

const encoder = new TextEncoder();
const PACKET_BYTES_MAX = 1 << 20;
const KEEP_ALIVE_S = 30;
const NOT_CONNECTED = "Not connected: connect first.";

const REASONS = {
  0x80: "unspecified error",
  0x81: "malformed packet",
  0x82: "protocol error",
  0x85: "client identifier not valid",
  0x86: "bad user name or password",
  0x87: "not authorized",
  0x88: "server unavailable",
  0x89: "server busy",
  0x8b: "server shutting down",
  0x8d: "keep alive timeout",
  0x8e: "session taken over",
  0x8f: "topic filter invalid",
  0x90: "topic name invalid",
  0x95: "packet too large",
  0x97: "quota exceeded",
  0x98: "administrative action",
  0x9a: "retain not supported",
  0x9f: "connection rate exceeded",
};

const reason = (code) => `0x${code.toString(16)}, ${REASONS[code] ?? "see the specification"}`;

export class MqttClient {
  #socket;
  #received = new Uint8Array(0);
  #waiting = new Map();
  #identifier = 0;
  #timer = 0;
  #why = "";
  #on;

  // `on` has the functions connected, message and closed.
  constructor(url, user, password, on) {
    this.#on = on;
    this.#socket = new WebSocket(url, "mqtt");
    this.#socket.binaryType = "arraybuffer";
    this.#socket.addEventListener("open", () => this.#send(0x10, connectBody(user, password)));
    this.#socket.addEventListener("message", (event) => this.#receive(new Uint8Array(event.data)));
    this.#socket.addEventListener("close", () => this.#closed());
  }

  // What the broker answered: the granted QoS.
  async subscribe(filter, qos) {
    const [code] = await this.#request(0x82, (identifier) => [...identifier, 0, ...string(filter), qos]);
    if (code >= 0x80) throw new Error(`Refused: ${reason(code)}`);
    return code;
  }

  async unsubscribe(filter) {
    const [code] = await this.#request(0xa2, (identifier) => [...identifier, 0, ...string(filter)]);
    if (code >= 0x80) throw new Error(`Refused: ${reason(code)}`);
    return code;
  }

  async publish(topic, payload, qos, retain) {
    const first = 0x30 | (qos << 1) | (retain ? 1 : 0);
    const body = (identifier) => [...string(topic), ...identifier, 0, ...encoder.encode(payload)];
    if (qos === 0) {
      if (!this.#send(first, body([]))) throw new Error(NOT_CONNECTED);
      return;
    }
    const [code] = await this.#request(first, body);
    if (code >= 0x80) throw new Error(`Refused: ${reason(code)}`);
  }

  close() {
    this.#send(0xe0, []);
    this.#socket.close();
  }

  #request(first, body) {
    this.#identifier = (this.#identifier % 0xffff) + 1;
    const identifier = this.#identifier;
    return new Promise((resolve, reject) => {
      this.#waiting.set(identifier, { resolve, reject });
      const isSent = this.#send(first, body([identifier >> 8, identifier & 0xff]));
      if (!isSent) reject(new Error(NOT_CONNECTED));
    });
  }

  // Whether it could be sent.
  #send(first, body) {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(Uint8Array.from([first, ...variable(body.length), ...body]));
    return true;
  }

  #closed() {
    clearInterval(this.#timer);
    const why = this.#why || "The connection was closed.";
    for (const { reject } of this.#waiting.values()) reject(new Error(why));
    this.#waiting.clear();
    this.#on.closed(why);
  }

  // Packets may lie across messages of the WebSocket.
  #receive(more) {
    const all = new Uint8Array(this.#received.length + more.length);
    all.set(this.#received);
    all.set(more, this.#received.length);
    let at = 0;
    for (;;) {
      const reader = new Reader(all.subarray(at));
      const first = reader.byte();
      const length = reader.variable();
      if (length === undefined || reader.left() < length) break;
      this.#packet(first, new Reader(reader.bytes(length)));
      at += reader.at;
    }
    this.#received = all.slice(at);
  }

  #packet(first, reader) {
    switch (first >> 4) {
      case 2:
        this.#connack(reader);
        break;
      case 3:
        this.#message(first, reader);
        break;
      case 4:
      case 9:
      case 11:
        this.#acknowledged(first >> 4, reader);
        break;
      case 14:
        this.#why = `The broker ended the connection: ${reason(reader.byte() ?? 0)}`;
        break;
      default:
      // PINGRESP needs nothing.
    }
  }

  #connack(reader) {
    reader.byte();
    const code = reader.byte();
    if (code !== 0) {
      this.#why = `The broker refused the connection: ${reason(code)}`;
      return;
    }
    let keepAliveS = KEEP_ALIVE_S;
    const properties = new Reader(reader.bytes(reader.variable()));
    // Server Keep Alive; other properties that come before it have a known length.
    const lengths = { 0x11: 4, 0x21: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x22: 2, 0x28: 1, 0x29: 1, 0x2a: 1 };
    while (properties.left() > 0) {
      const property = properties.byte();
      if (property === 0x13) keepAliveS = properties.short();
      else if (property in lengths) properties.bytes(lengths[property]);
      else break;
    }
    if (keepAliveS > 0) this.#timer = setInterval(() => this.#send(0xc0, []), keepAliveS * 500);
    this.#on.connected();
  }

  #message(first, reader) {
    const qos = (first >> 1) & 3;
    const topic = new TextDecoder().decode(reader.bytes(reader.short()));
    const identifier = qos > 0 ? reader.bytes(2) : [];
    reader.bytes(reader.variable());
    const payload = reader.bytes(reader.left());
    if (qos === 1) this.#send(0x40, [...identifier]);
    this.#on.message({ topic, payload, qos, retain: (first & 1) === 1 });
  }

  #acknowledged(type, reader) {
    const identifier = reader.short();
    const waiting = this.#waiting.get(identifier);
    this.#waiting.delete(identifier);
    // PUBACK has its code before the properties, and none if all is well.
    if (type === 4) {
      waiting?.resolve([reader.byte() ?? 0]);
      return;
    }
    reader.bytes(reader.variable());
    waiting?.resolve([...reader.bytes(reader.left())]);
  }
}

function connectBody(user, password) {
  const name = Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, "0"));
  const flags = 0x02 | (user ? 0x80 : 0) | (password ? 0x40 : 0);
  const size = [PACKET_BYTES_MAX >> 24, PACKET_BYTES_MAX >> 16, PACKET_BYTES_MAX >> 8, PACKET_BYTES_MAX];
  return [
    ...string("MQTT"),
    5,
    flags,
    0,
    KEEP_ALIVE_S,
    5,
    0x27,
    ...size.map((part) => part & 0xff),
    ...string(`dashboard-${name.join("")}`),
    ...(user ? string(user) : []),
    ...(password ? string(password) : []),
  ];
}

function string(text) {
  const bytes = encoder.encode(text);
  return [bytes.length >> 8, bytes.length & 0xff, ...bytes];
}

function variable(value) {
  const bytes = [];
  do {
    const more = value > 0x7f ? 0x80 : 0;
    bytes.push((value & 0x7f) | more);
    value >>= 7;
  } while (value > 0);
  return bytes;
}

class Reader {
  #bytes;
  at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  left() {
    return this.#bytes.length - this.at;
  }

  byte() {
    return this.left() > 0 ? this.#bytes[this.at++] : undefined;
  }

  short() {
    return (this.byte() << 8) | this.byte();
  }

  bytes(count = 0) {
    this.at += count;
    return this.#bytes.subarray(this.at - count, this.at);
  }

  // A Variable Byte Integer, if it is whole.
  variable() {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte();
      if (byte === undefined) return undefined;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return value;
  }
}
