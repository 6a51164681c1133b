// kafkajs as the judges drive it.
//
// produce BOOTSTRAP TOPIC PARTITION CODEC                 records on stdin, as lines.py says
// consume BOOTSTRAP TOPIC PARTITION offset|time N COUNT   records on stdout
// resume  BOOTSTRAP TOPIC PARTITION GROUP COUNT           as the only member of the group; commits behind what it read
// member  BOOTSTRAP TOPIC GROUP                           until the input ends; prints `PARTITION OFFSET VALUE`
//
// kafkajs has no consumer without a group: `consume` is one that never commits.

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')

// The longest that a job waits for records or acknowledgements before it gives up.
const WAIT_MS_MAX = 30000

const zstdReady = zstd.init()
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => {
    await zstdReady
    return Buffer.from(zstd.compress(encoder.buffer))
  },
  decompress: async buffer => {
    await zstdReady
    return Buffer.from(zstd.decompress(buffer))
  },
})
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const bytes = text => (text === null ? null : Buffer.from(text, 'base64'))
const text = data => (data === null ? null : data.toString('base64'))
const say = line => process.stdout.write(line + '\n')

function kafka(bootstrap) {
  // A coordinator that is away or still loading is asked again.
  const retry = { initialRetryTime: 100, maxRetryTime: 500, retries: 100 }
  return new Kafka({ brokers: [bootstrap], clientId: 'judge', logLevel: logLevel.ERROR, retry })
}

async function input() {
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  return Buffer.concat(chunks).toString().split('\n').filter(line => line !== '').map(line => JSON.parse(line))
}

// A name that comes twice has a list of values.
function headersFrom(pairs) {
  const headers = {}
  for (const [name, value] of pairs) headers[name] = name in headers ? [].concat(headers[name], value) : value
  return headers
}

const pairsFrom = headers =>
  Object.entries(headers).flatMap(([name, values]) => [].concat(values).map(value => [name, value.toString()]))

function print({ message }) {
  say(JSON.stringify({
    offset: Number(message.offset),
    timestamp_ms: Number(message.timestamp),
    key: text(message.key),
    value: text(message.value),
    headers: pairsFrom(message.headers),
  }))
}

async function produce(bootstrap, topic, partition, codec) {
  const client = kafka(bootstrap).producer({ idempotent: true, maxInFlightRequests: 1 })
  const messages = (await input()).map(line => ({
    key: bytes(line.key),
    value: bytes(line.value),
    headers: headersFrom(line.headers),
    partition: Number(partition),
    timestamp: line.timestamp_ms === null ? undefined : String(line.timestamp_ms),
  }))
  await client.connect()
  await client.send({ topic, acks: -1, timeout: WAIT_MS_MAX, compression: CODECS[codec], messages })
  await client.disconnect()
}

// Reads `count` records, from `start` if there is one; calls `behind` with the offset behind the last.
async function read(client, topic, partition, start, count, behind) {
  let left = Number(count)
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no further record')), WAIT_MS_MAX)
    client.on(client.events.CRASH, event => event.payload.restart || reject(event.payload.error))
    client.subscribe({ topic, fromBeginning: true }).then(async () => {
      await client.run({
        autoCommit: false,
        eachMessage: async received => {
          // A fetch that was under way when the start was set may still bring what lies before it.
          if (left === 0 || received.partition !== Number(partition)) return
          if (start !== undefined && BigInt(received.message.offset) < BigInt(start)) return
          print(received)
          left -= 1
          if (left > 0) return
          clearTimeout(timer)
          await behind(String(BigInt(received.message.offset) + 1n))
          resolve()
        },
      })
      if (start !== undefined) client.seek({ topic, partition: Number(partition), offset: start })
    }).catch(reject)
  })
  await client.disconnect()
}

async function consume(bootstrap, topic, partition, kind, number, count) {
  const cluster = kafka(bootstrap)
  let start = number
  if (kind === 'time') {
    const admin = cluster.admin()
    await admin.connect()
    const offsets = await admin.fetchTopicOffsetsByTimestamp(topic, Number(number))
    await admin.disconnect()
    start = offsets.find(found => found.partition === Number(partition)).offset
  }
  const client = cluster.consumer({ groupId: `judge-${process.pid}`, maxWaitTimeInMs: 100 })
  await client.connect()
  await read(client, topic, partition, start, count, async () => {})
}

async function resume(bootstrap, topic, partition, group, count) {
  const client = kafka(bootstrap).consumer({ groupId: group, maxWaitTimeInMs: 100 })
  await client.connect()
  await read(client, topic, partition, undefined, count, offset =>
    client.commitOffsets([{ topic, partition: Number(partition), offset }]))
}

async function member(bootstrap, topic, group) {
  const client = kafka(bootstrap).consumer({
    groupId: group, sessionTimeout: 6000, heartbeatInterval: 1000, maxWaitTimeInMs: 100,
  })
  await client.connect()
  await client.subscribe({ topic, fromBeginning: true })
  await client.run({
    autoCommitThreshold: 1,
    eachMessage: async ({ partition, message }) => say(`${partition} ${message.offset} ${message.value}`),
  })
  await new Promise(resolve => process.stdin.on('end', resolve).resume())
  await client.disconnect()
}

const jobs = { produce, consume, resume, member }
jobs[process.argv[2]](...process.argv.slice(3)).then(
  // A pipe may still hold back what was printed.
  () => process.stdout.write('', () => process.exit(0)),
  error => {
    console.error(error)
    process.exit(1)
  },
)
