// mqtt.js against a broker: QoS 0 to 2, retained, will, takeover, a persistent session, and what 5.0 adds.
//
// Usage: node mqttjs_client.js PORT [CA_FILE]; prints "all passed" and exits 0, or ends with an error.
'use strict'
const assert = require('node:assert')
const fs = require('node:fs')
const mqtt = require('mqtt')

const [port, caFile] = process.argv.slice(2)
const ca = caFile && fs.readFileSync(caFile)
const WAIT_MS = 10_000

function within (promise, what) {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`did not come: ${what}`)), WAIT_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// A client that waits for what it expects.
class Client {
  static async connect (clientId, protocolVersion, options = {}) {
    const self = new Client()
    self.messages = []
    self.waiting = []
    const persistent = options.clean === false && protocolVersion === 5
    self.mqtt = mqtt.connect({
      host: 'localhost',
      port: Number(port),
      protocol: ca ? 'mqtts' : 'mqtt',
      ca,
      clientId,
      protocolVersion,
      reconnectPeriod: 0,
      ...(persistent ? { properties: { sessionExpiryInterval: 3600 } } : {}),
      ...options
    })
    self.closed = new Promise(resolve => self.mqtt.once('close', resolve))
    self.mqtt.on('error', () => {})
    self.mqtt.on('message', (topic, payload, packet) => {
      const message = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain, packet }
      const waiter = self.waiting.shift()
      waiter ? waiter(message) : self.messages.push(message)
    })
    self.connack = await within(new Promise(resolve => self.mqtt.once('connect', resolve)), 'CONNACK')
    return self
  }

  async expect (topic, payload, qos, retain = false) {
    const message = this.messages.shift() ??
      await within(new Promise(resolve => this.waiting.push(resolve)), `${topic} ${payload}`)
    assert.deepStrictEqual([message.topic, message.payload, message.qos, message.retain], [topic, payload, qos, retain])
    return message.packet.properties
  }

  subscribe (topic, options) { return within(this.mqtt.subscribeAsync(topic, options), 'SUBACK') }

  publish (topic, payload, options) { return within(this.mqtt.publishAsync(topic, payload, options), 'an acknowledgement') }

  end () { return within(this.mqtt.endAsync(), 'the end') }

  cut () { this.mqtt.stream.destroy() }
}

async function delivery (version) {
  const subscriber = await Client.connect('s', version)
  const publisher = await Client.connect('p', version)
  for (const qos of [0, 1, 2]) {
    const topic = `js/${qos}`
    await subscriber.subscribe(topic, { qos })
    await Promise.all([...Array(20).keys()].map(number => publisher.publish(topic, `${number}`, { qos })))
    for (let number = 0; number < 20; number++) await subscriber.expect(topic, `${number}`, qos)
  }
  await subscriber.end()
  await publisher.end()
}

async function retained (version) {
  const client = await Client.connect('r', version)
  await client.publish('js/retained', 'kept', { qos: 1, retain: true })
  await client.subscribe('js/retained', { qos: 1 })
  await client.expect('js/retained', 'kept', 1, true)
  await client.publish('js/retained', '', { qos: 1, retain: true })
  await client.expect('js/retained', '', 1)
  await client.end()
}

async function will (version) {
  const watcher = await Client.connect('w', version)
  await watcher.subscribe('js/will', { qos: 1 })
  const dying = await Client.connect('dying', version, { will: { topic: 'js/will', payload: 'gone', qos: 1 } })
  dying.cut()
  await watcher.expect('js/will', 'gone', 1)
  await watcher.end()
}

async function takeover (version) {
  const first = await Client.connect('same', version)
  const second = await Client.connect('same', version)
  await within(first.closed, 'the end of the older connection')
  await second.subscribe('js/takeover', { qos: 0 })
  await second.publish('js/takeover', 'x', { qos: 0 })
  await second.expect('js/takeover', 'x', 0)
  await second.end()
}

async function session (version) {
  const kept = `js-kept-${version}`
  const first = await Client.connect(kept, version, { clean: false })
  assert.strictEqual(first.connack.sessionPresent, false)
  await first.subscribe('js/session', { qos: 2 })
  await first.end()
  const publisher = await Client.connect('p', version)
  for (const qos of [1, 2]) await publisher.publish('js/session', `${qos}`, { qos })
  const second = await Client.connect(kept, version, { clean: false })
  assert.strictEqual(second.connack.sessionPresent, true)
  await second.expect('js/session', '1', 1)
  await second.expect('js/session', '2', 2)
  await second.end()
  await publisher.end()
}

// Aliases that the client makes by itself, properties, options of subscriptions.
async function five () {
  const subscriber = await Client.connect('s', 5, { properties: { topicAliasMaximum: 10 } })
  const publisher = await Client.connect('p', 5, { autoUseTopicAlias: true, autoAssignTopicAlias: true })
  await subscriber.subscribe('js/five/+', { qos: 1, properties: { subscriptionIdentifier: 9 } })
  const userProperties = { b: ['2', '3'], a: '1' }
  const properties = { contentType: 'text/plain', responseTopic: 'answer', correlationData: Buffer.from([1]), messageExpiryInterval: 60, userProperties }
  await publisher.publish('js/five/x', 'with properties', { qos: 1, properties })
  for (let number = 0; number < 3; number++) await publisher.publish('js/five/x', `${number}`, { qos: 1 })
  const got = await subscriber.expect('js/five/x', 'with properties', 1)
  assert.strictEqual(got.contentType, 'text/plain')
  assert.strictEqual(got.responseTopic, 'answer')
  assert.deepStrictEqual([...got.correlationData], [1])
  assert.deepStrictEqual({ ...got.userProperties }, userProperties)
  assert.strictEqual(got.subscriptionIdentifier, 9)
  assert.ok(got.messageExpiryInterval > 50 && got.messageExpiryInterval <= 60)
  for (let number = 0; number < 3; number++) await subscriber.expect('js/five/x', `${number}`, 1)
  await publisher.subscribe('js/own', { qos: 1, nl: true })
  await publisher.publish('js/own', 'not for me', { qos: 1 })
  await publisher.subscribe('js/end', { qos: 1 })
  await publisher.publish('js/end', 'x', { qos: 1 })
  await publisher.expect('js/end', 'x', 1)
  await subscriber.end()
  await publisher.end()
}

async function main () {
  for (const version of [4, 5]) {
    for (const check of [delivery, retained, will, takeover, session]) {
      console.log(check.name, version)
      await check(version)
    }
  }
  console.log(five.name)
  await five()
  console.log('all passed')
}

main().then(() => process.exit(0), error => {
  console.error(error)
  process.exit(1)
})
