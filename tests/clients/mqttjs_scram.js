// mqtt.js in an exchange of AUTH packets by SCRAM-SHA-256 (RFC 7677), computed by Node's own cryptography.
//
// Usage: node mqttjs_scram.js PORT USER PASSWORD; prints "in" or the reason code of the refusal.
'use strict'
const crypto = require('node:crypto')
const mqtt = require('mqtt')

const [port, user, password] = process.argv.slice(2)
const METHOD = 'SCRAM-SHA-256'
const bare = `n=${user},r=${crypto.randomBytes(18).toString('base64')}`
let expected

const hmac = (key, text) => crypto.createHmac('sha256', key).update(text).digest()

// client-final-message
function answer (serverFirst) {
  const [nonce, salt, iterations] = serverFirst.split(',').map(attribute => attribute.slice(2))
  const salted = crypto.pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256')
  const clientKey = hmac(salted, 'Client Key')
  const storedKey = crypto.createHash('sha256').update(clientKey).digest()
  const withoutProof = `c=biws,r=${nonce}`
  const signed = `${bare},${serverFirst},${withoutProof}`
  const signature = hmac(storedKey, signed)
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]))
  expected = `v=${hmac(hmac(salted, 'Server Key'), signed).toString('base64')}`
  return `${withoutProof},p=${proof.toString('base64')}`
}

function end (text, code) {
  console.log(text)
  process.exit(code)
}

const client = mqtt.connect({
  host: 'localhost',
  port: Number(port),
  protocolVersion: 5,
  reconnectPeriod: 0,
  clientId: 'scram',
  properties: { authenticationMethod: METHOD, authenticationData: Buffer.from(`n,,${bare}`) }
})
client.handleAuth = (packet, callback) => {
  const data = answer(packet.properties.authenticationData.toString())
  const properties = { authenticationMethod: METHOD, authenticationData: Buffer.from(data) }
  callback(null, { cmd: 'auth', reasonCode: 0x18, properties })
}
client.on('connect', connack => {
  const trusted = connack.properties.authenticationData.toString() === expected
  end(trusted ? 'in' : 'the broker did not prove itself', trusted ? 0 : 1)
})
client.on('error', error => end(`refused ${error.code}`, 0))
setTimeout(() => end('no answer', 1), 10_000)
