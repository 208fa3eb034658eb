// A client by MQTT.js. Its settings are the argument; lines of JSON on its standard input tell it
// what to do, and it tells what happens on its standard output: see `events.rs`.

'use strict'

const fs = require('fs')
const readline = require('readline')
const mqtt = require('mqtt')

const settings = JSON.parse(process.argv[2])
let leaving = false
let connected = false
let told = null

function say (event, rest) {
  // Into a pipe this is synchronous.
  process.stdout.write(JSON.stringify({ event, ...rest }) + '\n')
}

function end () {
  if (!settings.reconnect) process.exit()
}

const client = mqtt.connect({
  host: settings.host,
  port: settings.port,
  protocol: settings.ca ? 'mqtts' : 'mqtt',
  ca: settings.ca ? fs.readFileSync(settings.ca) : undefined,
  protocolVersion: settings.version,
  clientId: settings.client_id,
  username: settings.username,
  password: settings.password,
  reconnectPeriod: settings.reconnect ? 1000 : 0,
  resubscribe: false
})

client.on('connect', () => {
  connected = true
  told = null
  say('connected')
})
client.on('disconnect', packet => { told = packet.reasonCode })
client.on('error', error => {
  if (connected) return
  // A number is the broker's, a string the system's.
  if (typeof error.code === 'number') say('refused', { code: error.code })
  else say('failed', { text: `${error.code}: ${error.message}` })
  end()
})
client.on('close', () => {
  if (!connected || leaving) return
  connected = false
  say('disconnected', { code: told })
  end()
})
client.on('message', (topic, payload, packet) => {
  const properties = (packet.properties || {}).userProperties || {}
  say('received', {
    topic,
    payload: payload.toString(),
    qos: packet.qos,
    property: properties.said === undefined ? null : properties.said
  })
})

function publish ({ topic, qos, payload, property }) {
  const options = { qos }
  if (settings.version === 5 && property !== null) {
    options.properties = { userProperties: { said: property } }
  }
  client.publish(topic, payload, options, error => { if (!error) say('published') })
}

function leave () {
  leaving = true
  client.end(false, () => {
    say('left')
    process.exit()
  })
}

const lines = readline.createInterface({ input: process.stdin })
lines.on('line', line => {
  const command = JSON.parse(line)
  if (command.do === 'subscribe') {
    client.subscribe(command.topic, { qos: command.qos }, (error, granted) => {
      if (!error) say('subscribed', { qos: granted[0].qos })
    })
  } else if (command.do === 'publish') {
    publish(command)
  } else {
    lines.close()
  }
})
lines.on('close', leave)
