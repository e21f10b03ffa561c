/** Messages there and back on so many connections: `node websocket.ts <url> <seconds> <connections>`. Prints JSON. */
import { once } from 'node:events'
import { WebSocket } from 'ws'

const [url = '', seconds = '', connections = ''] = process.argv.slice(2)
const message = Buffer.alloc(100, 'x')
const sockets = await Promise.all(
  Array.from({ length: Number(connections) }, async () => {
    const socket = new WebSocket(url, { perMessageDeflate: false })
    await once(socket, 'open')
    return socket
  }),
)
let messages = 0
let over = false
for (const socket of sockets) {
  socket.on('message', () => {
    messages += 1
    if (!over) socket.send(message)
  })
  socket.send(message)
}
await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1_000))
over = true
await Promise.all(
  sockets.map((socket) => {
    socket.close()
    return once(socket, 'close')
  }),
)
console.log(JSON.stringify({ messages }))
process.exit()
