import { type ConnectionTarget, describeTarget } from './engine/database/target.js'
import { Feed, type FeedListener } from './engine/watch/feed.js'
import { Cockpit } from './output/cockpit/cockpit.js'
import { pictureLine, pictureRecord } from './output/cockpit/lines.js'
import { toJson } from './output/json.js'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

export interface WatchOutput {
  wantsJson: boolean
  print(line: string): void
  note(line: string): void
}

/** Watches until somebody leaves: on a terminal as a cockpit, else line by line. */
export async function watch(target: ConnectionTarget, output: WatchOutput): Promise<void> {
  const isTerminal = process.stdout.isTTY && process.stdin.isTTY && process.env.TERM !== 'dumb'
  if (isTerminal && !output.wantsJson) await watchOnScreen(target)
  else await runUntilSignal(new Feed(target, linesOf(output)))
}

async function watchOnScreen(target: ConnectionTarget): Promise<void> {
  const cockpit = new Cockpit(describeTarget(target))
  const feed = new Feed(target, {
    picture: (picture) => cockpit.show(picture),
    trouble: (trouble) => cockpit.showTrouble(trouble),
  })
  cockpit.open(feed)
  try {
    await runUntilSignal(feed)
  } finally {
    cockpit.close()
  }
}

async function runUntilSignal(feed: Feed): Promise<void> {
  const stop = () => feed.stop()
  for (const signal of SIGNALS) process.on(signal, stop)
  // whoever read the lines has left
  process.stdout.on('error', stop)
  try {
    await feed.run()
  } finally {
    for (const signal of SIGNALS) process.off(signal, stop)
  }
}

function linesOf({ wantsJson, print, note }: WatchOutput): FeedListener {
  let isInTrouble = false
  return {
    picture(picture) {
      isInTrouble = false
      print(wantsJson ? toJson(pictureRecord(picture), 0) : pictureLine(picture))
    },
    trouble({ message }) {
      if (!isInTrouble) note(`No news, trying again: ${message}`)
      isInTrouble = true
    },
  }
}
