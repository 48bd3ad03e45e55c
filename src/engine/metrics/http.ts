import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { QueueError } from '../errors.js'

export interface Page {
  status: number
  type: string
  body: string
}

/** What answers a path. */
export type Pages = Record<string, () => Page | Promise<Page>>

export interface Listener {
  /** without a path */
  url: string
  close(): Promise<void>
}

/** A client that sends its request byte by byte, or never ends it, is not waited for. */
const REQUEST_LIMIT_MS = 5000
const MOST_CLIENTS = 50

/** Serves GET and HEAD of these paths. Errors: METRICS_PORT_IN_USE, METRICS_NOT_SERVED. */
export async function listen(port: number, host: string, pages: Pages): Promise<Listener> {
  const server = createServer(
    { requestTimeout: REQUEST_LIMIT_MS, headersTimeout: REQUEST_LIMIT_MS, connectionsCheckingInterval: 1000 },
    (request, response) => void answer(pages, request, response),
  )
  server.maxConnections = MOST_CLIENTS
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(refusal(error, port, host)))
    server.listen(port, host, resolve)
  })
  // a connection that could not be accepted is the client's trouble
  server.on('error', () => undefined)
  const { address, family, port: chosen } = server.address() as AddressInfo
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${chosen}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function refusal(error: NodeJS.ErrnoException, port: number, host: string): QueueError {
  if (error.code === 'EADDRINUSE')
    return new QueueError(
      'METRICS_PORT_IN_USE',
      `Port ${port} of "${host}" is in use, maybe by the metrics of another supervisor`,
      { hint: 'pgbq work --metrics-port 0, which takes any that is free and says which', cause: error },
    )
  return new QueueError(
    'METRICS_NOT_SERVED',
    `The metrics cannot be served on port ${port} of "${host}": ${error.message}`,
    { hint: 'pgbq work --metrics-port 9187, which serves them on 127.0.0.1', cause: error },
  )
}

async function answer(pages: Pages, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { status, type, body } = await find(pages, request)
  const headers = { 'content-type': type, 'cache-control': 'no-store' }
  response.writeHead(status, status === 405 ? { ...headers, allow: 'GET, HEAD' } : headers)
  response.end(body)
}

async function find(pages: Pages, { method = '', url = '' }: IncomingMessage): Promise<Page> {
  const path = url.split('?')[0]!
  const page = Object.hasOwn(pages, path) ? pages[path] : undefined
  if (page === undefined) return text(404, `Here are ${Object.keys(pages).join(' and ')}`)
  if (method !== 'GET' && method !== 'HEAD') return text(405, 'Only GET and HEAD are answered')
  try {
    return await page()
  } catch (error) {
    return text(500, (error as Error).message)
  }
}

const text = (status: number, body: string): Page => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${body}\n`,
})
